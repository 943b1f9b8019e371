"""What an output is called that nobody named."""

from __future__ import annotations

from pathlib import Path

from ..errors import UsageError
from ..media.uri import parsed
from .rendering import LOSSLESS


def beside(place: str, style: str) -> Path:
    """In the current folder, by the name of the input: `street.jpg` → `street-overlay.png`, `clip.mp4` → `clip-overlay.mp4`.

    Raises:
        UsageError: a source without a name, such as a camera.
        SourceError: no such file.
    """
    found = parsed(place)
    source = Path(found.target)
    if not found.local:
        raise UsageError(f"{found.shown} has no name to call the output by; expected --output, such as -o {style}.mp4")
    if found.kind == "images" and not source.is_file():  # a folder, or a pattern
        return Path(f"{source.resolve().name if source.is_dir() else 'images'}-{style}")
    if found.kind == "images":
        return Path(f"{source.stem}-{style}.png")
    return Path(f"{source.stem}-{style}{'' if style in LOSSLESS else '.mp4'}")
