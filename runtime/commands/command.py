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
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ...version import __version__
from ..artifacts.artifact import MINIMUM_SIDE
from ..artifacts.files import unwritable, write_atomically
from ..errors import DONE, FAILED, INTERRUPTED, FastSCNNError, OutputError
from ..text import shown

MAXIMUM_SIDE = 16384


def parser(name: str, description: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        name, description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
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
    options = parser.parse_intermixed_args(arguments) if intermixed else parser.parse_args(arguments)
    logging.basicConfig(level=logging.DEBUG if options.debug else logging.INFO, format="%(message)s", stream=sys.stderr)
    for library in ("matplotlib", "PIL"):
        logging.getLogger(library).setLevel(logging.WARNING)
    ending = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    previous = {number: signal.signal(number, _terminate) for number in ending}
    try:
        _silence_opencv(options.debug)
        work(options)
        sys.stdout.flush()
        return DONE
    except FastSCNNError as error:
        return _report(parser.prog, str(error), error.exit_code, options.debug)
    except KeyboardInterrupt:
        return _report(parser.prog, "interrupted", INTERRUPTED, options.debug)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains when it ends
        return FAILED
    except OSError as error:
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EIO):
            return _report(parser.prog, _fault(error), FAILED, options.debug)
        # A path that is too long, or an output that takes nothing more.
        where = "the output" if error.filename is None else repr(str(error.filename)[:200])
        return _report(parser.prog, f"{where} cannot be used ({error.strerror})", FAILED, options.debug)
    except MemoryError:
        return _report(parser.prog, "out of memory; use a lower resolution or a smaller batch", FAILED, options.debug)
    except Exception as error:
        return _report(parser.prog, _fault(error), FAILED, options.debug)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


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
    if not (MINIMUM_SIDE <= height <= MAXIMUM_SIDE and MINIMUM_SIDE <= width <= MAXIMUM_SIDE):
        raise argparse.ArgumentTypeError(
            f"height={height} width={width} is out of range; expected {MINIMUM_SIDE} to {MAXIMUM_SIDE} for each"
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


def add_trust(parser: argparse.ArgumentParser) -> None:
    """The option of every command that opens engines."""
    parser.add_argument(
        "--trust", action="store_true", help="open a version-compatible engine, which brings native code of its own"
    )


def positive(text: str) -> int:
    """A whole number from 1 up; for `type=` of an option."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


def write_json(destination: str, report: dict[str, Any]) -> None:
    """To a file, or to stdout for `-`."""
    text = json.dumps(report, indent=2) + "\n"
    if destination == "-":
        sys.stdout.write(text)
    else:
        write_atomically(Path(destination), text.encode())


def did_you_mean(word: str, known: Sequence[str]) -> str:
    import difflib

    close = difflib.get_close_matches(word, known, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _report(program: str, message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"{program}: {shown(message)}", file=sys.stderr)
    return code


def _terminate(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)  # unwinds through every `finally`, so open videos are completed


def _silence_opencv(debug: bool) -> None:
    """OpenCV and its FFmpeg print warnings of their own beside our one sentence."""
    if debug:
        return
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # where it is imported later, or never
    if "cv2" in sys.modules:
        cv2 = sys.modules["cv2"]
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


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
