"""What every command shares: options, logging, errors as one sentence, exit codes."""

from __future__ import annotations

import argparse
import codecs
import errno
import io
import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...version import __version__
from ..artifacts.files import unwritable, write_atomically
from ..errors import DONE, FAILED, INTERRUPTED, FastSCNNError, OutputError
from ..text import did_you_mean as did_you_mean
from ..text import shown
from . import manual, signals

MAXIMUM_SIDE = 16384


def parser(name: str, description: str, *examples: str, exits: str = manual.EXITS) -> argparse.ArgumentParser:
    """With what every command has; examples are whole command lines, shown beneath the options."""
    made = argparse.ArgumentParser(
        name,
        description=description,
        epilog=manual.epilogue(examples, exits),
        formatter_class=manual.Formatter,
    )
    made.add_argument("--version", action="version", version=f"{name} {__version__}")
    made.add_argument("--debug", action="store_true", help="show debug messages, and the traceback of an error")
    return made


def run(
    parser: argparse.ArgumentParser,
    work: Callable[[argparse.Namespace], None],
    arguments: Sequence[str] | None,
    *,
    intermixed: bool = False,
) -> int:
    """Parse, work, and turn whatever goes wrong into one sentence and an exit code.

    `intermixed` lets options stand between the positional arguments of one list.
    """
    _print_anything()
    _silence_opencv("--debug" in (sys.argv[1:] if arguments is None else arguments))  # as early as --version ends
    options = parser.parse_intermixed_args(arguments) if intermixed else parser.parse_args(arguments)
    logging.basicConfig(level=logging.DEBUG if options.debug else logging.INFO, format="%(message)s", stream=sys.stderr)
    for library in ("matplotlib", "PIL"):
        logging.getLogger(library).setLevel(logging.WARNING)
    with signals.handled():
        return _worked(parser.prog, work, options)


def _worked(program: str, work: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> int:
    try:
        work(options)
        signals.go_on()
        sys.stdout.flush()
        return DONE
    except FastSCNNError as error:
        return _report(program, str(error), error.exit_code, options.debug)
    except KeyboardInterrupt:
        return _report(program, "interrupted", INTERRUPTED, options.debug)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains when it ends
        return FAILED
    except OSError as error:
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EIO):
            return _report(program, _fault(error), FAILED, options.debug)
        # A path that is too long, or an output that takes nothing more.
        where = "the output" if error.filename is None else repr(str(error.filename)[:200])
        return _report(program, f"{where} cannot be used ({error.strerror})", FAILED, options.debug)
    except MemoryError:
        return _report(program, "out of memory; use a lower resolution or a smaller batch", FAILED, options.debug)
    except Exception as error:
        return _report(program, _fault(error), FAILED, options.debug)


def _fault(error: Exception) -> str:
    return f"{type(error).__name__}: {error}. This is a fault of the program; --debug shows where"


def resolution(text: str) -> tuple[int, int]:
    """`1024x2048` → (1024, 2048), height first; for `type=` of an option."""
    match = re.fullmatch(r"(\d{1,6})[xX×](\d{1,6})", text)
    if not match:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a resolution; expected HEIGHTxWIDTH in pixels, such as 1024x2048"
        )
    height, width = int(match[1]), int(match[2])
    if not (1 <= height <= MAXIMUM_SIDE and 1 <= width <= MAXIMUM_SIDE):
        raise argparse.ArgumentTypeError(
            f"height={height} width={width} is out of range; expected 1 to {MAXIMUM_SIDE} for each"
        )
    return height, width


def whole(text: str) -> int:
    """A whole number from 0 up; for `type=` of an option."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 up")
    return int(text)


def expect_folder(*destinations: Path | None) -> None:
    """Refuse files whose folder is missing before hours of work end in that message.

    Raises:
        OutputError: names the first.
    """
    for path in destinations:
        if path is not None and not path.parent.is_dir():
            raise OutputError(f"{path} cannot be written: {path.parent} is not a folder. Create it first")
        if path is not None and path.is_dir():
            raise OutputError(f"{path} cannot be written: it is a folder; expected the name of a file")


def make_folder(folder: Path) -> None:
    """Before hours of work end at it.

    Raises:
        OutputError: a file of that name, no permission, no space.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error


def add_device(parser: argparse.ArgumentParser) -> None:
    """The option of every command that runs models, and what its values mean."""
    from ..backends.choice import DEVICES  # here: the doctor starts where NumPy is what is broken

    parser.add_argument("--device", default="auto", choices=DEVICES, metavar="NAME", help="what to run on; see below")
    parser.epilog = f"{manual.devices()}\n\n{parser.epilog}"


def add_trust(parser: argparse.ArgumentParser) -> None:
    """The option of every command that opens engines."""
    parser.add_argument(
        "--trust", action="store_true", help="open a version-compatible engine, which brings native code of its own"
    )


def add_try_again(parser: argparse.ArgumentParser) -> None:
    """The option of commands that say which engine was chosen."""
    parser.add_argument(
        "--try-again",
        action="store_true",
        help="hold the trial that chooses the engine once more, as after one on a busy machine",
    )


def positive(text: str) -> int:
    """A whole number from 1 up; for `type=` of an option."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


def share(text: str) -> float:
    """A part of a whole, 0 to 1; for `type=` of an option."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share from 0 to 1")
    return value


def write_json(destination: str, report: dict[str, Any]) -> None:
    """To a file, or to stdout for `-`."""
    text = json.dumps(report, indent=2) + "\n"
    if destination == "-":
        sys.stdout.write(text)
    else:
        write_atomically(Path(destination), text.encode())


def _report(program: str, message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    if interrupted := signals.asked():  # whatever else it led to: an import that breaks off is another error then
        message, code = "interrupted", interrupted
    print(f"{program}: {shown(message)}", file=sys.stderr)
    return code


def _silence_opencv(debug: bool) -> None:
    """OpenCV and its FFmpeg print warnings of their own beside our one sentence."""
    if debug:
        return
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # where it is imported later, or never
    if "cv2" in sys.modules:
        _silent(sys.modules["cv2"])


def _silent(cv2: Any) -> None:
    if hasattr(cv2.utils, "logging"):  # OpenCV 4.13 and newer
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    else:
        cv2.setLogLevel(0)


def _print_anything() -> None:
    """Let a terminal of any encoding show what it cannot as an escape, instead of ending the program.

    Names of files that are not text here keep their bytes.
    """

    def escaped(error: UnicodeError) -> tuple[str | bytes, int]:
        try:
            return codecs.lookup_error("surrogateescape")(error)
        except UnicodeError:
            return codecs.lookup_error("backslashreplace")(error)

    codecs.register_error("fastscnn.escaped", escaped)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="fastscnn.escaped")
