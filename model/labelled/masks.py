"""Label files as tools write them: ids of any depth, palettes, grey in three channels, or colours. Read in this one place.

A file is first read as it is stored (`read_mask`), then taken for train ids by what the data set says (`Reading`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ...runtime import install
from ...runtime.artifacts.artifact import IGNORE
from ...runtime.artifacts.files import whole
from ...runtime.errors import ArtifactError, DeviceError, SourceError
from ..classes import ClassSet, Colour

Labels = NDArray[np.uint8]

UNKNOWN = 254  # in tables of train ids: what the data set does not define; train ids end below it
_MOST_BYTES = 1 << 30
_PNG = b"\x89PNG\r\n\x1a\n"
_GREY, _DEPTH_AT, _KIND_AT = 0, 24, 25  # of a PNG's header
_LOSSY = (b"\xff\xd8\xff", b"RIFF")  # JPEG, WebP
_TIFF_BITS = 258
_LISTED = 4


@dataclass(frozen=True)
class Mask:
    """A label file's pixels as they are stored."""

    values: NDArray[Any]  # uint8 or uint16 (H, W) numbers, or uint8 (H, W, 3) RGB
    kind: str  # in words: "8-bit grey", "4-bit palette", "RGB"
    palette: tuple[Colour, ...] = ()  # the colours that the numbers are shown in, where the file has some
    transparent: NDArray[np.bool_] | None = None  # (H, W): where nothing is drawn

    @property
    def coloured(self) -> bool:
        return self.values.ndim == 3

    @property
    def size(self) -> tuple[int, int]:
        return self.values.shape[0], self.values.shape[1]

    @cached_property
    def equal(self) -> bool:
        """Whether three channels say the same, so that one of them is the number."""
        return self.coloured and bool((self.values == self.values[..., :1]).all())


def read_mask(path: Path) -> Mask:
    """The stored numbers: of palettes the indices, and of 1, 2 and 4 bits what they say, not what they are stretched to.

    Raises:
        SourceError: missing, unreadable, lossy, or deeper than 16 bits of grey; says what was found.
    """
    try:
        data = whole(path, _MOST_BYTES, "a label file")
    except ArtifactError as error:
        raise SourceError(str(error)) from error.__cause__
    if data[:8] == _PNG and len(data) > _KIND_AT and data[_KIND_AT] == _GREY and data[_DEPTH_AT] in (8, 16):
        values = _plain_grey(data)
        if values is not None:
            return Mask(values, f"{data[_DEPTH_AT]}-bit grey")
    if data.startswith(_LOSSY):
        raise SourceError(
            f"{path} is a JPEG or WebP, which mixes the numbers at every edge; expected a label file without loss. "
            "Export the labels as PNG"
        )
    return _of_any_kind(path, data)


def _plain_grey(data: bytes) -> NDArray[Any] | None:
    """The usual case by the fastest decoder; None where it is not what it seems."""
    try:
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    expected = np.uint8 if data[_DEPTH_AT] == 8 else np.uint16
    return values if values is not None and values.ndim == 2 and values.dtype == expected else None


def _of_any_kind(path: Path, data: bytes) -> Mask:
    """By Pillow, which keeps a palette's indices."""
    Image = pillow()  # noqa: N806
    try:
        with Image.open(BytesIO(data)) as opened:
            opened.load()
            bits = _bits(data, opened)
            mode, deep = opened.mode, data[:8] == _PNG and data[_DEPTH_AT] == 16
            if mode in ("1", "L"):
                values = np.array(opened).astype(np.uint8)
                if mode == "L" and bits < 8:
                    values //= 255 // (2**bits - 1)
                return Mask(values, f"{bits}-bit grey")
            if mode == "P":
                colours = opened.getpalette("RGB") or []
                palette = tuple(zip(*[iter(int(v) for v in colours)] * 3, strict=False))
                return Mask(np.array(opened), f"{bits}-bit palette", palette)
            if mode.startswith("I;16"):
                return Mask(np.array(opened).astype(np.uint16), "16-bit grey")
            if mode in ("LA", "RGB", "RGBA") and not deep:
                return _with_alpha(np.array(opened), mode)
            found = f"{mode}, {bits} bits a channel"
    except Exception as error:  # Pillow raises whatever its many parsers meet
        raise SourceError(
            f"{path} is not a label file that can be read, or is damaged ({str(error) or type(error).__name__:.120})"
        ) from error
    raise SourceError(
        f"{path} holds {found}; expected class ids in 8 or 16 bits of grey or a palette, or 8-bit colours"
    )


def _with_alpha(pixels: NDArray[np.uint8], mode: str) -> Mask:
    transparent = pixels[..., -1] == 0 if mode in ("LA", "RGBA") else None
    values = pixels[..., 0] if mode == "LA" else pixels[..., :3]
    if transparent is not None and not transparent.any():
        transparent = None
    return Mask(np.ascontiguousarray(values), {"LA": "8-bit grey"}.get(mode, mode), transparent=transparent)


def _bits(data: bytes, opened: Any) -> int:
    if data[:8] == _PNG:
        return data[_DEPTH_AT]
    tags = getattr(opened, "tag_v2", {})
    stored = tags.get(_TIFF_BITS, (8,)) if tags else (1,) if opened.mode == "1" else (8,)
    return int(stored[0] if isinstance(stored, tuple) else stored)


def pillow() -> Any:
    """Pillow's `Image`.

    Raises:
        DeviceError: it is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise DeviceError(
            f"reading data sets needs pillow, which cannot be imported ({error}). Install: {install.command('data')}"
        ) from None
    return Image


@dataclass(frozen=True)
class Reading:
    """What numbers and colours mean in the label files of one data set.

    Args:
        source: who says so, for messages: "CamVid", "yard/classes.yaml".
        table: (256,) number in the file → train id, IGNORE, or UNKNOWN.
        ignored: colours that are not trained on.
        stored: "ids" or "colours" where the data set says which; None where each file tells by itself.
    """

    classes: ClassSet
    source: str
    table: Labels
    ignored: tuple[Colour, ...] = ()
    stored: Literal["ids", "colours"] | None = None

    @classmethod
    def of_ids(
        cls,
        classes: ClassSet,
        source: str,
        ids: Iterable[int],
        ignore: Iterable[int] = (),
        ignored: tuple[Colour, ...] = (),
        stored: Literal["ids", "colours"] | None = None,
    ) -> Reading:
        """Where each class has one number, in the order of the classes; 255 is ignored unless it is one of them."""
        table = np.full(256, UNKNOWN, np.uint8)
        table[[IGNORE, *ignore]] = IGNORE
        table[list(ids)] = np.arange(len(classes))
        return cls(classes, source, table, ignored, stored)

    def labels(self, path: Path) -> Labels:
        """uint8 (H, W) train ids, 255 to ignore.

        Raises:
            SourceError: unreadable, or something that the data set does not define; says what, and what to do.
        """
        mask = read_mask(path)
        found = self._colours(path, mask) if self._shows_colours(path, mask) else self._ids(path, mask)
        if mask.transparent is not None:
            found = np.where(mask.transparent, np.uint8(IGNORE), found)
        return found

    def _shows_colours(self, path: Path, mask: Mask) -> bool:
        if self.stored == "ids" and mask.coloured and not mask.equal:
            raise SourceError(
                f"{path} holds colours, but {self.source} says `labels: ids`; expected one number a pixel"
            )
        if self.stored == "colours" and not mask.coloured and not mask.palette:
            raise SourceError(f"{path} is {mask.kind}, but {self.source} says `labels: colours`; expected RGB")
        if self.stored or not mask.coloured:
            return self.stored == "colours"
        if not mask.equal:
            return True
        by_colour, by_id = self._by_colour[codes(mask.values)], self.table[mask.values[..., 0]]
        if UNKNOWN in by_colour:
            return False
        if UNKNOWN not in by_id and not np.array_equal(by_colour, by_id):
            raise SourceError(
                f"{path} is grey in three channels, which can be ids or colours of {self.source}, and they differ; "
                f"expected one meaning. Write `labels: ids` or `labels: colours` into {self.source}"
            )
        return True

    def _ids(self, path: Path, mask: Mask) -> Labels:
        numbers = mask.values[..., 0] if mask.coloured else mask.values
        if numbers.dtype != np.uint8:
            if numbers.max(initial=0) > 255:
                raise SourceError(
                    f"{path} holds 16-bit numbers up to {numbers.max()}; expected ids up to 255. Instance numbers are no "
                    f"classes: export classes, or map them with fastscnn-data init"
                )
            numbers = numbers.astype(np.uint8)
        labels = self.table[numbers]
        if np.any(labels == UNKNOWN):
            strange = sorted(set(numbers[labels == UNKNOWN].tolist()))
            raise SourceError(
                f"{path} ({mask.kind}) holds ids {_listed(strange)}, which {self.source} does not define; "
                f"expected {self._expected()}{self._hint(numbers)}"
            )
        return labels

    def _colours(self, path: Path, mask: Mask) -> Labels:
        if len(set(self.classes.palette)) < len(self.classes):
            raise SourceError(
                f"{path} holds colours, but {self.source} has the same colour for two classes; expected a colour each"
            )
        values = mask.values if mask.coloured else np.array(mask.palette, np.uint8)[mask.values]
        held = codes(values)
        labels = self._by_colour[held]
        wrong = labels == UNKNOWN
        if mask.transparent is not None:
            wrong &= ~mask.transparent
        if wrong.any():
            raise SourceError(
                f"{path} ({mask.kind}) holds colours that {self.source} does not have: {self._strange(held[wrong], wrong.size)}; "
                "expected the colours of the classes, or one channel of ids. fastscnn-data init converts others by a mapping"
            )
        return labels

    @cached_property
    def _by_colour(self) -> Labels:
        """(2^24,) colour → train id, IGNORE or UNKNOWN; 16 MB, once a data set."""
        table = np.full(1 << 24, UNKNOWN, np.uint8)
        for colour in self.ignored:
            table[code(colour)] = IGNORE
        for index, colour in enumerate(self.classes.palette):
            table[code(colour)] = index
        return table

    def _strange(self, strange: NDArray[np.uint32], pixels: int) -> str:
        found, counts = np.unique(strange, return_counts=True)
        order = counts.argsort()[::-1]
        palette = np.array(self.classes.palette, np.int64)
        texts = []
        for place in order[:_LISTED]:
            colour = np.array(rgb(int(found[place])), np.int64)
            nearest = int(np.abs(palette - colour).sum(axis=1).argmin())
            share = counts[place] / pixels
            texts.append(
                f"{colour.tolist()} {share:.1%} (nearest: {self.classes.classes[nearest]} {palette[nearest].tolist()})"
            )
        return ", ".join(texts) + (f" and {len(found) - _LISTED} more" if len(found) > _LISTED else "")

    def _expected(self) -> str:
        ids = np.flatnonzero((self.table != UNKNOWN) & (self.table != IGNORE))
        some = f"{ids[0]} to {ids[-1]}" if len(ids) == ids[-1] - ids[0] + 1 else _listed(ids.tolist())
        ignored = np.flatnonzero(self.table == IGNORE).tolist()
        return some + (f", and {_listed(ignored)} to ignore" if ignored else "")

    def _hint(self, numbers: Labels) -> str:
        """What the numbers look like, where they are those of a habit."""
        there, count = sorted(set(np.unique(numbers).tolist()) - {IGNORE}), len(self.classes)
        if self.source.endswith(".yaml") and there and there[-1] == count and self.table[0] == 0:
            if there[0] >= 1:
                ids = list(range(1, count + 1))
                return f". The ids seem to count from 1: write `ids: {ids}` into {self.source}, and `ignore: 0` where 0 is unlabelled"
            return (
                f". {count + 1} ids from 0 on for {count} classes: name the class of id 0 (often background), too, or write "
                f"`ids: {list(range(1, count + 1))}` and `ignore: 0`"
            )
        return ""


def code(colour: Colour) -> int:
    """0xRRGGBB."""
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def rgb(number: int) -> Colour:
    """The colour of a code."""
    return number >> 16, number >> 8 & 255, number & 255


def codes(pixels: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """(H, W, 3) RGB → (H, W) 0xRRGGBB."""
    wide = pixels.astype(np.uint32)
    return np.asarray(wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2], np.uint32)


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")
