"""What can be asked of the labelling of a log: sent to workers as it is, and written beside the result."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..errors import UsageError


@dataclass(frozen=True)
class Options:
    """How a log is labelled; the same options on the same log with the same model give the same result.

    Raises:
        UsageError: a window or a step that holds nothing.
    """

    topics: tuple[str, ...] = ()  # none: the one that carries a camera's pictures
    every: int = 1  # of the images of a topic, each so-manieth
    start: float = 0.0  # seconds after the log's beginning
    end: float | None = None
    only_masks: bool = False  # leave out what was recorded
    overlay: bool = False  # add pictures for people, as JPEG

    def __post_init__(self) -> None:
        if self.every < 1:
            raise UsageError(f"every {self.every} images; expected 1 or more")
        if self.start < 0 or (self.end is not None and self.end <= self.start):
            raise UsageError(f"from {self.start:g} s to {self.end} s of the log; expected an end behind its start")

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "topics": list(self.topics)}
