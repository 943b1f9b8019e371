"""Write files so that whoever looks sees the old one or the complete new one, never half of it."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

from .errors import OutputError


def partial(path: Path) -> Path:
    """A name beside `path` to write under first; it keeps the suffix, by which writers choose the format."""
    return path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part{path.suffix}")


def write_atomically(path: str | Path, data: bytes) -> None:
    """Put `data` at `path` in one step.

    Raises:
        OutputError: no such folder, no permission, no space; nothing is left behind.
    """
    path = Path(path).resolve()  # a link is followed, not replaced
    if path.exists() and not path.is_file() and not path.is_dir():
        path.write_bytes(data)  # /dev/stdout, a pipe: there is nothing to replace
        return
    temporary = partial(path)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_together(files: Mapping[Path, bytes]) -> None:
    """Put files that belong together into one folder, in the order given.

    Of several writers at once one whole set remains: each holds the folder while it replaces them. A reader may come
    between two replacements, so a set must be able to tell that it is mixed, by a checksum for one.

    Raises:
        OutputError: no such folder, no permission, no space; nothing is left behind.
    """
    targets = {path.resolve(): data for path, data in files.items()}
    temporaries = {path: partial(path) for path in targets}
    try:
        for path, data in targets.items():
            with temporaries[path].open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        with _held(next(iter(targets)).parent):
            try:
                _replace(temporaries)
            except (KeyboardInterrupt, SystemExit):  # obeyed, but not with half a set in place
                _replace({path: temporary for path, temporary in temporaries.items() if temporary.exists()})
                raise
    except OSError as error:
        raise unwritable(next(iter(targets)), error) from error
    finally:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)


def _replace(temporaries: Mapping[Path, Path]) -> None:
    for path, temporary in temporaries.items():
        temporary.replace(path)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keep other processes of this project from replacing sets in `folder`; a process that dies lets go.

    The folder itself is locked, so no lock file is left. Some network file systems refuse that; there, last wins file by file.
    """
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def unwritable(path: Path, error: OSError) -> OutputError:
    remedy = (
        "Free some space or choose another place"
        if error.errno == 28
        else "Choose a place that exists and can be written"
    )
    return OutputError(f"{path} cannot be written ({error.strerror or error}). {remedy}")
