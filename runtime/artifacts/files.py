"""Write files so that whoever looks sees the old one or the complete new one, never half of it.

A file under construction has a hidden name beside its own and is locked. Who dies lets go of the lock, so the next run
that writes into the folder knows the leftovers of the dead from the work of the living, and sweeps them up. Of files
that belong together a note tells which are to be renamed, so that whoever comes next can complete the set.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ..errors import ArtifactError, OutputError

if TYPE_CHECKING:
    from typing_extensions import Self

_STEM = 50  # characters of it that a hidden name takes: file names have at most 255 bytes
LEFTOVER = re.compile(r"\..*\.[0-9a-f]{8}\.fastscnn\.part(\.[^.]*)?", re.DOTALL)  # what `hidden` names
_LONGEST_NOTE = 1 << 16
_NOTE = re.compile(r"\.[0-9a-f]{8}\.fastscnn\.set")
_swept: set[Path] = set()  # folders, by this process


def hidden(path: Path) -> Path:
    """A name beside `path` to write under first; it keeps the suffix, by which writers choose the format."""
    return path.with_name(f".{path.stem[:_STEM]}.{os.urandom(4).hex()}.fastscnn.part{path.suffix}")


class Partial:
    """A file under construction, at `place` until `finish` gives it its name. A context manager, which removes what is not finished.

    Raises:
        OSError: no such folder, no permission, no space; here and from every method.
    """

    def __init__(self, path: Path, place: Path | None = None) -> None:
        if place is None:
            sweep(path.parent)
        self._path = path
        self.place = place or hidden(path)
        self._handle = _locked(self.place)

    def write(self, data: bytes) -> None:
        """Append `data`, through to the disk."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._handle, view) :]
        os.fsync(self._handle)

    def finish(self) -> None:
        """Through to the disk, then to its name, in one step."""
        os.fsync(self._handle)
        self.place.replace(self._path)

    def close(self) -> None:
        """Let go; twice is harmless."""
        if self._handle < 0:
            return
        self.place.unlink(missing_ok=True)
        os.close(self._handle)
        self._handle = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def sweep(folder: Path) -> None:
    """Remove what writers left in `folder` that died in the middle; once a process, because folders can be large."""
    folder = folder.resolve()
    if folder in _swept:
        return
    _swept.add(folder)
    with contextlib.suppress(OSError):  # whoever writes next finds out what is wrong with the folder
        with os.scandir(folder) as entries:
            found = [Path(e.path) for e in entries if LEFTOVER.fullmatch(e.name) and e.is_file(follow_symlinks=False)]
        with held(folder):  # nobody is replacing a set, whose old files have such names too and no lock
            complete_sets(folder)
            for path in found:
                with contextlib.suppress(OSError), _abandoned(path):
                    path.unlink()


def complete_sets(folder: Path) -> None:
    """Finish what writers began that died between two replacements. The caller holds `folder`."""
    with contextlib.suppress(OSError):
        for note in [Path(e.path) for e in os.scandir(folder) if _NOTE.fullmatch(e.name)]:
            with _abandoned(note) as text:
                for place, name in _renames(text):
                    with contextlib.suppress(FileNotFoundError):
                        (folder / place).replace(folder / name)
                note.unlink()


def _renames(text: bytes) -> list[tuple[str, str]]:
    """What a note tells; nothing where its writer died over it, before any replacement."""
    try:
        renames = [(place, name) for place, name in json.loads(text).items() if LEFTOVER.fullmatch(place)]
        return renames if all(Path(name).name == name for _, name in renames) else []
    except (ValueError, TypeError, AttributeError, RecursionError):
        return []


def _locked(path: Path) -> int:
    """Create the file and lock it; a handle for writing."""
    import fcntl

    while True:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if os.path.samestat(path.stat(), os.fstat(handle)):
                return handle
        except FileNotFoundError:
            pass  # swept between its creation and the lock: once more
        except OSError:
            return handle  # a file system without locks, on which nothing is swept either
        os.close(handle)


@contextlib.contextmanager
def _abandoned(path: Path) -> Iterator[bytes]:
    """The first bytes of a file that no living writer has locked. OSError for one that is locked, gone or not ours."""
    import fcntl

    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield os.read(handle, _LONGEST_NOTE)
    finally:
        os.close(handle)


def there(path: str | Path) -> bool:
    """Whether something has this name; False, too, for a name that is too long, where `Path.exists` raises."""
    return os.path.exists(path)  # noqa: PTH110


def whole(path: str | Path, most: int, expected: str) -> bytes:
    """The bytes of a regular file: a device or a pipe could give them without end.

    Args:
        most: bytes that it may have.
        expected: what the file should be, for messages.

    Raises:
        ArtifactError: missing, unreadable, no regular file, or too large.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe without a writer would keep us here
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "it is no regular file")
            if found.st_size > most:
                raise ArtifactError(f"{path} has {found.st_size:,} bytes; expected {expected}. Check the path")
            with os.fdopen(handle, "rb", closefd=False) as file:
                return file.read(found.st_size)
        finally:
            os.close(handle)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = getattr(error, "strerror", None) or error
        raise ArtifactError(f"{path} cannot be read ({reason}); expected {expected}. Check the path") from error


def write_atomically(path: str | Path, data: bytes) -> None:
    """Put `data` at `path` in one step.

    Raises:
        OutputError: no such folder, no permission, no space; nothing is left behind.
    """
    path = Path(path).resolve()  # a link is followed, not replaced
    with _explained(path):
        if path.exists() and not path.is_file() and not path.is_dir():
            path.write_bytes(data)  # /dev/stdout, a pipe: there is nothing to replace
            return
        with Partial(path) as part:
            part.write(data)
            part.finish()


def write_together(files: Mapping[Path, bytes]) -> None:
    """Put files that belong together into one folder, in the order given.

    Of several writers at once one whole set remains: each holds the folder while it replaces them. A reader may come
    between two replacements, so a set must be able to tell that it is mixed, by a checksum for one.

    Raises:
        OutputError: no such folder, no permission, no space; the old set stays and nothing else is left behind.
    """
    targets = {path.resolve(): data for path, data in files.items()}
    former = {path: hidden(path) for path in targets}
    with contextlib.ExitStack() as parts:
        temporaries = {}
        for path, data in targets.items():
            with _explained(path):
                part = parts.enter_context(Partial(path))
                part.write(data)
                temporaries[path] = part.place
        first = next(iter(targets))
        try:
            with _explained(first), held(first.parent):
                complete_sets(first.parent)
                with Partial(first, first.with_name(f".{os.urandom(4).hex()}.fastscnn.set")) as note:
                    note.write(json.dumps({place.name: path.name for path, place in temporaries.items()}).encode())
                    try:
                        _replace(temporaries, former, note)
                    except (KeyboardInterrupt, SystemExit):  # obeyed, but not with half a set in place
                        _replace(temporaries, former, note)
                        raise
        finally:
            for old in former.values():
                old.unlink(missing_ok=True)


def _replace(temporaries: Mapping[Path, Path], former: Mapping[Path, Path], note: Partial) -> None:
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
        note.close()  # nobody is to complete what is being undone
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
        import shutil

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
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        else "Choose a place that exists and can be written"
    )
    return OutputError(f"{path} cannot be written ({error.strerror or error}). {remedy}")
