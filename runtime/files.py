"""Write files so that whoever looks sees the old one or the complete new one, never half of it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
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
        OutputError: no such folder, no permission, no space; the old set stays and nothing else is left behind.
    """
    targets = {path.resolve(): data for path, data in files.items()}
    temporaries = {path: partial(path) for path in targets}
    former = {path: partial(path) for path in targets}
    try:
        for path, data in targets.items():
            with _explained(path), temporaries[path].open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        first = next(iter(targets))
        with _explained(first), held(first.parent):
            try:
                _replace(temporaries, former)
            except (KeyboardInterrupt, SystemExit):  # obeyed, but not with half a set in place
                _replace(temporaries, former)
                raise
    finally:
        for temporary in [*temporaries.values(), *former.values()]:
            temporary.unlink(missing_ok=True)


def _replace(temporaries: Mapping[Path, Path], former: Mapping[Path, Path]) -> None:
    """Put all in place that are not, or none: a temporary that is gone is in place."""
    waiting = [path for path, temporary in temporaries.items() if temporary.exists()]
    try:
        for path in waiting:
            with _explained(path):
                _keep(path, former[path])
        for path in waiting:  # with nothing in between, because a reader may look
            with _explained(path):
                temporaries[path].replace(path)
    except OutputError:
        _undo(temporaries, former)
        raise


def _undo(temporaries: Mapping[Path, Path], former: Mapping[Path, Path]) -> None:
    for path, temporary in temporaries.items():
        if temporary.exists():
            continue
        with contextlib.suppress(OSError):  # the first failure is the one to tell
            if former[path].exists():
                former[path].replace(path)
            else:
                path.unlink()


def _keep(path: Path, beside: Path) -> None:
    beside.unlink(missing_ok=True)
    if not path.is_file():
        return
    try:
        os.link(path, beside)
    except OSError:  # a file system without links
        shutil.copyfile(path, beside)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from error


@contextlib.contextmanager
def held(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Keep other processes of this project from replacing sets in `folder`; a process that dies lets go.

    Readers hold it `shared`, each beside the others. OSError where there is no such folder.
    The folder itself is locked, so no lock file is left. Some network file systems refuse that; there, last wins file by file.
    """
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
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
