"""Polygons in the file's order, the later over the earlier: labelme, YOLO segmentation, Cityscapes."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import SourceError, UsageError
from ..classes import CITYSCAPES
from ..labelled.masks import pillow
from .source import (
    IGNORED,
    NOTHING,
    Found,
    Labelled,
    Numbers,
    dotless,
    expect_pictures,
    images_by_stem,
    inside,
    lines_of,
    load_json,
)

Points = NDArray[np.float64]  # (N, 2): x, y
_FAR = 1e6  # pixels, beyond which no picture reaches
_FLAT = ("point", "line", "linestrip", "points")  # labelme's shapes without an area
_LABELME_IGNORE, _LABELME_BACKGROUND = "__ignore__", "_background_"


def paint(mask: Numbers, points: Points, number: int) -> None:
    """Fill one polygon with its outline, as labelme and cityscapesScripts do; holes by the even-odd rule."""
    if len(points) < 2:
        return
    height, width = mask.shape
    points = points.clip(-_FAR, _FAR)
    left, top = (int(v) for v in np.floor(points.min(axis=0)).clip(0, (width, height)))
    right, bottom = (int(v) + 2 for v in np.ceil(points.max(axis=0)).clip(0, (width - 1, height - 1)))
    part = mask[top:bottom, left:right]
    if not part.size:
        return
    Image = pillow()  # noqa: N806
    from PIL import ImageDraw

    drawn = Image.new("1", (part.shape[1], part.shape[0]))
    ImageDraw.Draw(drawn).polygon([(x - left, y - top) for x, y in points.tolist()], fill=1, outline=1)
    part[np.array(drawn)] = number


def empty(size: tuple[int, int]) -> Numbers:
    return np.full(size, NOTHING, np.int16)


# labelme


def labelme(root: Path, images: Path | None) -> Found | None:
    """JSON files with `shapes`, each beside its picture or with it inside `imagePath`."""
    files = [path for path in dotless(root.rglob("*.json")) if _begins_like_labelme(path)]
    if not files:
        return None
    contents = {path: load_json(path) for path in files}
    names = sorted({str(shape.get("label")) for c in contents.values() for shape in _shapes(c)} - {_LABELME_IGNORE})
    by_stem = images_by_stem(root, *([images] if images else []))
    pictures, missing, flat = [], [], Counter[str]()
    for path, content in contents.items():
        flat.update(kind for shape in _shapes(content) if (kind := shape.get("shape_type")) in _FLAT)
        named = path.parent / str(content.get("imagePath", "")).replace("\\", "/")
        image = named if inside(named, root, images) else by_stem.get(named.stem) or by_stem.get(path.stem)
        if image is None:
            missing.append(str(path))
            continue
        pictures.append(Labelled(image, path, partial(_labelme_mask, path, content, tuple(names))))
    expect_pictures("labelme JSON", root, missing, images)
    notes = tuple(f"{count} shapes of the kind {kind!r} have no area and were left out" for kind, count in flat.items())
    shown = tuple("background" if name == _LABELME_BACKGROUND else name for name in names)
    return Found("labelme JSON", shown, tuple(pictures), rest=True, notes=notes)


def _begins_like_labelme(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(1 << 16)
    return b'"shapes"' in start or (b'"version"' in start and b'"imageData"' in start)


def _shapes(content: Any) -> Sequence[Mapping[str, Any]]:
    shapes = content.get("shapes") if isinstance(content, Mapping) else None
    return [shape for shape in shapes if isinstance(shape, Mapping)] if isinstance(shapes, list) else []


def _labelme_mask(path: Path, content: Any, names: tuple[str, ...], size: tuple[int, int]) -> Numbers:
    declared = content.get("imageHeight"), content.get("imageWidth")
    mask = empty(_declared(path, declared, size))
    for shape in _shapes(content):
        label, kind = str(shape.get("label")), shape.get("shape_type", "polygon")
        number = IGNORED if label == _LABELME_IGNORE else names.index(label)
        if kind in _FLAT:
            continue
        points = _points(path, shape.get("points"))
        if kind == "rectangle" and len(points) == 2:
            (left, top), (right, bottom) = points
            points = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
        elif kind == "circle" and len(points) == 2:
            radius = float(np.hypot(*(points[1] - points[0])))
            turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
            points = points[0] + radius * np.stack([np.cos(turn), np.sin(turn)], axis=1)
        elif kind == "mask":
            _paste(path, mask, points, shape.get("mask"), number)
            continue
        elif kind not in ("polygon", "rectangle", "oriented_rectangle", "rotation"):
            raise SourceError(
                f"{path} has a shape of the kind {kind!r:.40}; expected polygon, rectangle, circle or mask"
            )
        paint(mask, points, number)
    return mask


def _paste(path: Path, mask: Numbers, corner: Points, encoded: Any, number: int) -> None:
    """labelme's shape `mask`: a black and white PNG, and where its corner lies."""
    try:
        with pillow().open(BytesIO(base64.b64decode(encoded, validate=True))) as opened:
            part = np.array(opened.convert("L")) > 0
    except Exception as error:  # Pillow raises whatever its parsers meet
        raise SourceError(f"{path} has a mask that cannot be read ({error!s:.100})") from error
    left, top = (round(v) for v in corner[0])
    target = mask[max(top, 0) : top + part.shape[0], max(left, 0) : left + part.shape[1]]
    target[part[max(-top, 0) :, max(-left, 0) :][: target.shape[0], : target.shape[1]]] = number


def _points(path: Path, given: Any) -> Points:
    try:
        points = np.array(given, np.float64)
    except (TypeError, ValueError):
        points = np.zeros(0)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise SourceError(f"{path} has the points {given!r:.60}; expected pairs of numbers")
    return points


def _declared(path: Path, declared: tuple[Any, Any], size: tuple[int, int]) -> tuple[int, int]:
    """The size that the file says its picture has: the picture's own, or that of the picture as it is stored."""
    if declared == (None, None) or tuple(declared) in (size, size[::-1]):
        return size if declared == (None, None) else (declared[0], declared[1])
    raise SourceError(
        f"{path} was drawn on height={declared[0]} width={declared[1]}, but its picture is height={size[0]} width={size[1]}; "
        "expected the same. Take the picture that was labelled"
    )


# YOLO segmentation


def yolo(root: Path, images: Path | None) -> Found | None:
    """`labels/**/*.txt`: a class and a polygon a line, in shares of the picture; names in a `data.yaml`."""
    from ..plain_yaml import read

    described = next((p for name in ("data.yaml", "dataset.yaml", "data.yml") if (p := root / name).is_file()), None)
    files = [p for p in dotless(root.rglob("*.txt")) if "labels" in p.relative_to(root).parts[:-1]]
    if not files or (described is None and not (root / "classes.txt").is_file()):
        return None
    if described is not None:
        content = read(described)
        given = content.get("names") if isinstance(content, Mapping) else None
        names = (
            [str(given[key]) for key in sorted(given)] if isinstance(given, Mapping) else list(map(str, given or ()))
        )
        if isinstance(given, Mapping) and sorted(given) != list(range(len(given))):
            raise UsageError(f"{described} numbers its names {sorted(given)!s:.80}; expected 0 to {len(given) - 1}")
    else:
        names = lines_of(root / "classes.txt")
    if not names:
        raise UsageError(f"{described} has no names; expected `names: [soil, crop]`")
    by_stem = images_by_stem(root, *([images] if images else []))
    pictures = tuple(
        Labelled(by_stem[path.stem], path, partial(_yolo_mask, path, len(names)), split_of(path.relative_to(root)))
        for path in files
        if path.stem in by_stem
    )
    expect_pictures("YOLO segmentation", root, (str(p) for p in files if p.stem not in by_stem), images)
    return Found("YOLO segmentation", tuple(names), pictures, rest=True)


def _yolo_mask(path: Path, count: int, size: tuple[int, int]) -> Numbers:
    mask = empty(size)
    for line in lines_of(path) if path.stat().st_size else ():
        words = line.split()
        try:
            number, values = int(words[0]), np.array(words[1:], np.float64)
        except ValueError:
            raise SourceError(f"{path} has the line {line!r:.60}; expected a class and x y in turns") from None
        if len(values) == 4:
            raise SourceError(f"{path} holds boxes; expected polygons, as YOLO's segmentation has")
        if len(values) < 6 or len(values) % 2 or not 0 <= number < count:
            raise SourceError(
                f"{path} has the line {line!r:.60}; expected a class from 0 to {count - 1} and three points or more"
            )
        if values.min() < -0.01 or values.max() > 1.01:
            raise SourceError(
                f"{path} has the coordinate {values.max():g}; expected shares of the picture, from 0 to 1"
            )
        paint(mask, values.reshape(-1, 2) * size[::-1], number)
    return mask


def split_of(place: Path) -> str | None:
    """`train`, `val` or `test` where a folder of the path says so."""
    known = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test", "training": "train"}
    return next((known[part.lower()] for part in place.parts[:-1] if part.lower() in known), None)


# Cityscapes


def cityscapes(root: Path, images: Path | None) -> Found | None:
    """`*_polygons.json` with Cityscapes' names, or with one's own in the same form."""
    files = list(dotless(root.rglob("*_polygons.json")))
    if not files:
        return None
    contents = {path: load_json(path) for path in files}
    used = {_singular(str(thing.get("label"))) for c in contents.values() for thing in _objects(c)}
    known = used <= {*CITYSCAPES.classes, *_CITYSCAPES_IGNORED}
    names = CITYSCAPES.classes if known else tuple(sorted(used))
    by_stem = images_by_stem(root, *([images] if images else []))
    pictures, missing = [], []
    for path, content in contents.items():
        stem = path.name.removesuffix("_polygons.json")
        stem = stem.removesuffix("_gtFine").removesuffix("_gtCoarse")
        image = by_stem.get(f"{stem}_leftImg8bit") or by_stem.get(stem)
        if image is None:
            missing.append(str(path))
            continue
        draw: Callable[[tuple[int, int]], Numbers] = partial(_cityscapes_mask, path, content, names)
        pictures.append(Labelled(image, path, draw, split_of(path.relative_to(root))))
    expect_pictures("Cityscapes polygons", root, missing, images)
    colours = dict(zip(CITYSCAPES.classes, CITYSCAPES.palette, strict=True)) if known else {}
    return Found("Cityscapes polygons", names, tuple(pictures), colours, rest=not known)


# Labels that Cityscapes draws and does not train on (cityscapesScripts' labels.py).
_CITYSCAPES_IGNORED = (
    "unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground", "parking",
    "rail track", "guard rail", "bridge", "tunnel", "polegroup", "caravan", "trailer", "license plate",
)  # fmt: skip


def _singular(label: str) -> str:
    """`cargroup` is drawn as car, but `polegroup` is a label of its own."""
    return label.removesuffix("group") if label.endswith("group") and label != "polegroup" else label


def _objects(content: Any) -> Sequence[Mapping[str, Any]]:
    objects = content.get("objects") if isinstance(content, Mapping) else None
    return [thing for thing in objects or () if isinstance(thing, Mapping) and not thing.get("deleted")]


def _cityscapes_mask(path: Path, content: Any, names: tuple[str, ...], size: tuple[int, int]) -> Numbers:
    mask = empty(_declared(path, (content.get("imgHeight"), content.get("imgWidth")), size))
    if names == CITYSCAPES.classes:
        mask[:] = IGNORED  # what nobody labelled
    for thing in _objects(content):
        label = _singular(str(thing.get("label")))
        paint(mask, _points(path, thing.get("polygon")), names.index(label) if label in names else IGNORED)
    return mask
