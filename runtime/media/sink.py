"""What every place for results offers."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from ..frame import Frame

if TYPE_CHECKING:
    from typing_extensions import Self


class Sink:
    """Takes named results one by one; closing completes what there is.

    Attributes:
        written: how many it has taken.
    """

    written = 0

    def write(self, name: str, image: Frame, stamp: float | None = None) -> None:
        """Take a result, uint8 (H, W, 3) BGR or (H, W); `stamp` is its frame's, in seconds as in `Named`."""
        raise NotImplementedError

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
