"""A folder that is complete or absent: written under a hidden name beside its own and renamed when it is whole."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from .files import LEFTOVER, hidden

if TYPE_CHECKING:
    from typing_extensions import Self


class PartialFolder:
    """A folder under construction, at `place` until `finish` gives it its name. A context manager, which removes what is not finished.

    It is locked while its writer lives, so the next writer beside it sweeps up what the dead left.

    Raises:
        OSError: no permission, no space; here and from every method.
    """

    def __init__(self, path: Path) -> None:
        import fcntl

        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        self._path, self.place = path, hidden(path)
        self.place.mkdir()
        self._handle = os.open(self.place, os.O_RDONLY)
        with contextlib.suppress(OSError):  # a file system without locks, on which nothing is swept either
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def finish(self) -> None:
        """Through to the disk, then to its name, in one step. OSError where something has that name already."""
        for path in self.place.rglob("*"):
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        os.fsync(self._handle)
        self.place.rename(self._path)

    def close(self) -> None:
        """Let go; twice is harmless."""
        if self._handle < 0:
            return
        shutil.rmtree(self.place, ignore_errors=True)
        os.close(self._handle)
        self._handle = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _sweep(folder: Path) -> None:
    import fcntl

    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for path in [Path(e.path) for e in entries if LEFTOVER.fullmatch(e.name) and e.is_dir(follow_symlinks=False)]:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            except OSError:
                continue  # somebody is at work in it
            finally:
                os.close(handle)
