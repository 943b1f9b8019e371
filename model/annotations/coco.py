"""COCO's JSON: polygons and run lengths, drawn by pycocotools in the file's order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime import install
from ...runtime.errors import DeviceError, SourceError
from .polygons import empty, split_of
from .source import Found, Labelled, Numbers, dotless, expect_pictures, images_by_stem, inside, load_json

_FAR = 10  # times the picture's longer side, beyond which no polygon is meant


def coco(root: Path, images: Path | None) -> Found | None:
    """One or more files with `images`, `annotations` and `categories`, here or one folder deeper."""
    files = [p for p in dotless([*root.glob("*.json"), *root.glob("*/*.json")]) if _begins_like_coco(p)]
    contents = {path: content for path in files if _is_coco(content := load_json(path))}
    if not contents:
        return None
    categories = {c["id"]: str(c["name"]) for content in contents.values() for c in content["categories"]}
    drawn = {a.get("category_id") for content in contents.values() for a in content["annotations"]}
    names = tuple(dict.fromkeys(name for number, name in categories.items() if number in drawn))
    by_stem = images_by_stem(root, *([images] if images else []))
    pictures, missing = [], []
    for path, content in contents.items():
        things: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
        for thing in content["annotations"]:
            things[thing.get("image_id")].append(thing)
        for described in content["images"]:
            name = str(described.get("file_name", "")).replace("\\", "/")
            near = [
                base / name
                for base in (path.parent, root, root / "images", path.parent / "images", *([images] if images else []))
            ]
            image = next((p for p in near if inside(p, root, images)), by_stem.get(Path(name).stem))
            if image is None:
                missing.append(name)
                continue
            draw = partial(_mask, path, described, tuple(things[described.get("id")]), categories, names)
            pictures.append(Labelled(image, path, draw, _split(path, root)))
    expect_pictures("COCO JSON", root, missing, images)
    return Found("COCO JSON", names, tuple(pictures), rest=True)


def _begins_like_coco(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(1 << 16)
        file.seek(-min(1 << 16, path.stat().st_size), 2)
        ends = start + file.read()
    return any(b'"%s"' % key in ends for key in (b"annotations", b"categories", b"file_name"))


def _is_coco(content: Any) -> bool:
    return isinstance(content, Mapping) and all(
        isinstance(content.get(k), list) for k in ("images", "annotations", "categories")
    )


def _split(path: Path, root: Path) -> str | None:
    """By the folder, or by the file's name: `instances_train2017.json`."""
    place = path.relative_to(root)
    found = [s for s in ("train", "val", "test") if s in path.stem.lower()]
    return split_of(place) or (found[0] if len(found) == 1 else None)


def _mask(
    path: Path,
    described: Mapping[str, Any],
    things: tuple[Mapping[str, Any], ...],
    categories: Mapping[Any, str],
    names: tuple[str, ...],
    size: tuple[int, int],
) -> Numbers:
    own = described.get("height"), described.get("width")
    if own not in (size, size[::-1]):
        raise SourceError(
            f"{path} says that {described.get('file_name')} is height={own[0]} width={own[1]}, but it is height={size[0]} "
            f"width={size[1]}; expected the same"
        )
    mask = empty((int(own[0]), int(own[1])))  # type: ignore[arg-type]
    for thing in things:
        region = _region(path, thing, mask.shape[0], mask.shape[1])
        name = categories.get(thing.get("category_id"))
        if name is None:
            raise SourceError(
                f"{path} has an annotation of the category {thing.get('category_id')!r}, which it does not name"
            )
        mask[region > 0] = names.index(name)
    return mask


def _region(path: Path, thing: Mapping[str, Any], height: int, width: int) -> np.ndarray[Any, Any]:
    try:
        from pycocotools import mask as lengths
    except ImportError as error:
        raise DeviceError(
            f"reading COCO needs pycocotools, which cannot be imported ({error}). Install: {install.command('data')}"
        ) from None
    found = thing.get("segmentation")
    if not found:
        raise SourceError(
            f"{path}: annotation {thing.get('id')} has no segmentation; expected polygons or run lengths, not boxes alone"
        )
    try:
        if isinstance(found, list):
            outlines = [_outline(polygon, height, width) for polygon in found]
            codes = lengths.merge(lengths.frPyObjects([o for o in outlines if len(o) >= 6], height, width))
            return np.asarray(lengths.decode(codes))
        if [int(v) for v in found["size"]] != [height, width]:
            raise ValueError(f"its size is {found['size']}")
        counts = found["counts"]
        return _filled(counts if isinstance(counts, list) else _unpacked(counts), height, width)
    except Exception as error:  # Python and pycocotools raise whatever they met
        raise SourceError(f"{path}: annotation {thing.get('id')} cannot be drawn ({error!s:.100})") from error


def _outline(given: Any, height: int, width: int) -> list[float]:
    """x, y in turns: pycocotools' C code trusts what it is given."""
    points = np.array(given, np.float64)
    if points.ndim != 1 or len(points) % 2 or not np.isfinite(points).all():
        raise ValueError("a polygon that is not x and y in turns")
    if len(points) and np.abs(points).max() > _FAR * max(height, width):
        raise ValueError(f"a polygon that reaches to {np.abs(points).max():g}")
    return [float(value) for value in points]


def _filled(counts: Sequence[Any], height: int, width: int) -> np.ndarray[Any, Any]:
    """Runs of nothing and something in turns, down each column."""
    runs = np.array(counts, np.int64)
    if runs.ndim != 1 or (runs < 0).any() or (runs > height * width).any() or runs.sum() != height * width:
        raise ValueError(f"its runs do not fill {height}x{width}")
    return np.repeat(np.arange(len(runs)) % 2, runs).astype(np.uint8).reshape(width, height).T


def _unpacked(text: Any) -> list[int]:
    """COCO's compressed runs: five bits a character from 48 on, the sixth for more to come; from the third as differences."""
    runs: list[int] = []
    place, data = 0, str(text).encode("latin1")
    while place < len(data):
        value, shift, more = 0, 0, True
        while more:
            bits = data[place] - 48
            if not 0 <= bits < 64 or shift > 60:
                raise ValueError("runs that are not COCO's")
            value |= (bits & 0x1F) << shift
            more = bool(bits & 0x20)
            place, shift = place + 1, shift + 5
            if not more and bits & 0x10:
                value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    return runs
