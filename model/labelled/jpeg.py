"""Damage in JPEG files that OpenCV passes over with a grey or smeared part."""

from __future__ import annotations

from pathlib import Path

from ...runtime import install
from ...runtime.errors import DeviceError, SourceError

_START = b"\xff\xd8\xff"


def expect_whole(path: Path) -> None:
    """Decode a JPEG strictly; other files pass.

    Raises:
        SourceError: data missing at its end or in the middle, as far as the decoder can tell.
        DeviceError: simplejpeg is not installed.
    """
    try:
        import simplejpeg
    except ImportError as error:
        raise DeviceError(
            f"checking JPEG files needs simplejpeg, which cannot be imported ({error}). Install: {install.command('data')}"
        ) from None
    data = path.read_bytes()
    if not data.startswith(_START):
        return
    try:
        simplejpeg.decode_jpeg(data, "GRAY", fastdct=True, strict=True)
    except ValueError as error:
        raise SourceError(
            f"{path} is damaged ({error}); a part of the picture is lost. Copy it again, or remove it"
        ) from None
