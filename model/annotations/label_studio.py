"""Label Studio's "Brush labels to PNG": one black and white file for each class of a task; a JSON export names the pictures."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ...runtime.errors import SourceError
from ..labelled.masks import read_mask
from .polygons import empty
from .source import Found, Labelled, Numbers, dotless, expect_pictures, images_by_stem, load_json

_NAME = re.compile(
    r"task-(?P<task>\d+)-annotation-(?P<annotation>\d+)-by-(?P<who>.*)-tag-(?P<tag>.+)-(?P<place>\d+)\.png"
)


def label_studio(root: Path, images: Path | None) -> Found | None:
    """`task-12-annotation-3-by-1-tag-weed-0.png`, painted in the order of their numbers."""
    parts: dict[int, dict[int, list[tuple[int, str, Path]]]] = defaultdict(lambda: defaultdict(list))
    for path in dotless(root.rglob("*.png")):
        if (match := _NAME.fullmatch(path.name)) is not None:
            parts[int(match["task"])][int(match["annotation"])].append((int(match["place"]), match["tag"], path))
    if not parts:
        return None
    names = tuple(sorted({tag for task in parts.values() for part in task.values() for _, tag, _ in part}))
    pictures, missing, twice = [], [], 0
    named = _named(root)
    by_stem = images_by_stem(*([images] if images else []), root)
    by_stem = {stem: path for stem, path in by_stem.items() if not _NAME.fullmatch(path.name)}
    for task, versions in sorted(parts.items()):
        twice += len(versions) - 1
        strokes = sorted(versions[max(versions)])  # of several annotations of a task, the newest
        stems = [Path(named[task]).stem] if task in named else [str(task), f"task-{task}"]
        # Uploads get eight hexadecimal digits before their own name.
        stems += [re.sub(r"^[0-9a-f]{8}-", "", stem) for stem in stems]
        image = next((by_stem[stem] for stem in stems if stem in by_stem), None)
        if image is None:
            missing.append(f"task {task} ({strokes[0][2].name})")
            continue
        pictures.append(Labelled(image, strokes[0][2], partial(_mask, tuple((tag, p) for _, tag, p in strokes), names)))
    if missing and not named:
        missing[0] += ", and no JSON export beside the masks tells which picture each task had"
    expect_pictures("Label Studio PNGs", root, missing, images)
    notes = (f"{twice} older annotations of tasks that have several were left out",) if twice else ()
    return Found("Label Studio PNGs", names, tuple(pictures), rest=True, notes=notes)


def _named(root: Path) -> dict[int, str]:
    """Task → name of its picture, from JSON exports (full or JSON-MIN)."""
    found: dict[int, str] = {}
    for path in dotless(root.rglob("*.json")):
        content: Any = load_json(path)
        for task in content if isinstance(content, list) else ():
            if isinstance(task, Mapping) and isinstance(task.get("id"), int):
                data = task["data"] if isinstance(task.get("data"), Mapping) else task
                name = next(
                    (v for k, v in data.items() if k != "annotations" and isinstance(v, str) and _pictorial(v)), None
                )
                if name is not None:
                    found[task["id"]] = name.partition("?d=")[2] or name
    return found


def _pictorial(value: str) -> bool:
    return value.lower().endswith((".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"))


def _mask(strokes: tuple[tuple[str, Path], ...], names: tuple[str, ...], size: tuple[int, int]) -> Numbers:
    found = None
    for tag, path in strokes:
        stroke = read_mask(path)
        drawn = (stroke.values > 0) if not stroke.coloured else (stroke.values > 0).any(axis=2)
        if found is None:
            found = empty(stroke.size)
        if drawn.shape != found.shape:
            raise SourceError(
                f"{path} is height={drawn.shape[0]} width={drawn.shape[1]}, unlike the task's other masks"
            )
        found[drawn] = names.index(tag)
    assert found is not None
    return found
