"""Masks as files: CVAT, Pascal VOC, Roboflow, CamVid's originals, MMSegmentation, and plain folders of them."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import SourceError, UsageError
from ..classes import Colour
from ..labelled import class_list
from ..labelled.masks import Mask, read_mask, rgb
from .mask_values import codes_of, values_of
from .polygons import split_of
from .source import (
    IGNORED,
    NOTHING,
    Found,
    Labelled,
    Numbers,
    dotless,
    expect_pictures,
    is_image,
    lines_of,
)

_ENDINGS = (".png", ".bmp", ".tif", ".tiff", ".gif")  # of masks
_AFTER = (
    "_mask",
    "_label",
    "_labels",
    "_seg",
    "_segmentation",
    "_gt",
    "_annotation",
    "_L",
    "_labelTrainIds",
    "_labelIds",
)
_IMAGE_FOLDERS = ("images", "image", "img", "imgs", "JPEGImages", "rgb", "input", "pictures", "frames", "raw")
_MASK_FOLDERS = (
    "masks", "mask", "labels", "label", "annotations", "ann", "SegmentationClass", "SegmentationClassPNG", "gt", "segmentation",
    "targets",
)  # fmt: skip


def cvat(root: Path, images: Path | None) -> Found | None:
    """`labelmap.txt` (name:r,g,b::) and `SegmentationClass/` in its colours; lists in `ImageSets/Segmentation`."""
    described = root / "labelmap.txt"
    if not described.is_file() or not (root / "SegmentationClass").is_dir():
        return None
    colours: dict[str, Colour] = {}
    for line in lines_of(described):
        if not line.startswith("#"):
            name, _, rest = line.partition(":")
            numbers = rest.split(":")[0].split(",")
            try:
                red, green, blue = (int(n) for n in numbers)
            except ValueError:
                raise SourceError(f"{described} has the line {line!r:.80}; expected name:r,g,b::") from None
            colours[name] = (red, green, blue)
    return _of_colours("CVAT segmentation mask", root, images, colours, _voc_splits(root), root / "SegmentationClass")


def voc(root: Path, images: Path | None) -> Found | None:
    """`SegmentationClass/` of palette PNGs with `JPEGImages/`; 255 is the border that nobody labels."""
    base = next(
        (
            p
            for p in (root, *sorted(root.glob("VOC*")), *sorted(root.glob("*/VOC*")))
            if (p / "SegmentationClass").is_dir()
        ),
        None,
    )
    folder = base and next((p for n in ("SegmentationClassPNG", "SegmentationClass") if (p := base / n).is_dir()), None)
    if base is None or folder is None or not any(p.suffix == ".png" for p in folder.iterdir()):
        return None
    listed = next((p for n in ("class_names.txt", "labels.txt", "classes.txt") if (p := base / n).is_file()), None)
    names = None
    if listed is not None:
        named = [name for name in lines_of(listed) if name != "__ignore__"]
        names = dict(enumerate("background" if name == "_background_" else name for name in named))
    return _of_ids("Pascal VOC", base, images, folder, _voc_splits(base), names)


def _voc_splits(root: Path) -> dict[str, str]:
    """Stem → split, of the lists in `ImageSets/Segmentation`; only those whose names say one."""
    found: dict[str, str] = {}
    for split in ("train", "val", "test"):
        path = root / "ImageSets" / "Segmentation" / f"{split}.txt"
        if path.is_file():
            found.update((line.split()[0], split) for line in lines_of(path))
    return found


def roboflow(root: Path, images: Path | None) -> Found | None:
    """`_classes.csv` (Pixel Value, Class) in each of train/, valid/, test/, with `a_mask.png` beside `a.jpg`."""
    lists = list(dotless([*root.glob("_classes.csv"), *root.glob("*/_classes.csv")]))
    if not lists:
        return None
    names: dict[int, str] = {}
    for path in lists:
        for row in list(csv.reader(lines_of(path)))[1:]:
            try:
                number, name = int(row[0]), row[1].strip()
            except (ValueError, IndexError):
                raise SourceError(f"{path} has the row {row!r:.80}; expected a pixel value and a class") from None
            if names.setdefault(number, name) != name:
                raise UsageError(
                    f"{path} calls {number} {name!r}, and another list {names[number]!r}; expected the same in all"
                )
    masks = [p for path in lists for p in dotless(path.parent.glob("*_mask.png"))]
    return _of_pairs("Roboflow masks", root, images, masks, names)


def camvid(root: Path, images: Path | None) -> Found | None:
    """`label_colors.txt` (r g b name) and `*_L.png` in these colours."""
    described = next(iter(dotless(root.rglob("label_colors.txt"))), None)
    masks = list(dotless(root.rglob("*_L.png")))
    if described is None or not masks:
        return None
    colours: dict[str, Colour] = {}
    for line in lines_of(described):
        if (match := re.fullmatch(r"(\d+)\s+(\d+)\s+(\d+)\s+(\S.*)", line)) is not None:
            colours[match[4]] = (int(match[1]), int(match[2]), int(match[3]))
    return _of_colours("CamVid's original colours", root, images, colours, {}, masks, ignored=("Void",))


def mmsegmentation(root: Path, images: Path | None) -> Found | None:
    """`img_dir/SPLIT` and `ann_dir/SPLIT`; names stand in a configuration elsewhere."""
    if not (root / "img_dir").is_dir() or not (root / "ann_dir").is_dir():
        return None
    masks = [p for p in dotless((root / "ann_dir").rglob("*")) if p.suffix in _ENDINGS]
    return _of_pairs("MMSegmentation's img_dir and ann_dir", root, images or root / "img_dir", masks, None)


def folders(root: Path, images: Path | None) -> Found | None:
    """Any two folders of pictures and of masks of the same stems, or masks beside pictures (`a.jpg`, `a_mask.png`)."""
    every = [p for p in dotless(root.rglob("*")) if is_image(p)]
    masks = [p for p in every if p.suffix.lower() in _ENDINGS and _marked(p.relative_to(root))]
    if images is not None and not masks:
        masks = [p for p in every if p.suffix.lower() in _ENDINGS]
    if not masks:
        return None
    kind, listed = "a folder of images and masks", root / "classes.yaml"
    if listed.is_file():
        known = class_list.read(listed)
        names = known.classes.classes
        colours = dict(zip(names, known.classes.palette, strict=True))
        if values_of(masks).coloured:
            splits = {p.stem: split for p in masks if (split := split_of(p.relative_to(root)))}
            return _of_colours(kind, root, images, colours, splits, masks)
        return replace(_of_pairs(kind, root, images, masks, dict(zip(known.ids, names, strict=True))), colours=colours)
    return _of_pairs(kind, root, images, masks, None)


def _marked(place: Path) -> bool:
    """Whether a folder or an ending of the name says that this is a mask."""
    in_folder = any(part.lower() in {n.lower() for n in _MASK_FOLDERS} for part in place.parts[:-1])
    return in_folder or place.stem.endswith(_AFTER)


def _of_pairs(
    kind: str, root: Path, images: Path | None, masks: Sequence[Path], names: Mapping[int, str] | None
) -> Found:
    """Masks whose pictures have their stem, with or without a word after it."""
    taken = set(masks)
    splits = {str(p): split for p in masks if (split := split_of(p.relative_to(root) if p.is_relative_to(root) else p))}
    return _of_files(kind, root, images, masks, names, lambda p: splits.get(str(p)), taken)


def _of_ids(
    kind: str, root: Path, images: Path | None, folder: Path, splits: Mapping[str, str], names: Mapping[int, str] | None
) -> Found:
    masks = list(dotless(folder.glob("*.png")))
    return _of_files(kind, root, images, masks, names, lambda p: splits.get(p.stem), set(masks))


def _of_files(
    kind: str,
    root: Path,
    images: Path | None,
    masks: Sequence[Path],
    names: Mapping[int, str] | None,
    split: Callable[[Path], str | None],
    taken: set[Path],
) -> Found:
    pairs = _paired(kind, root, images, masks, taken)
    values = values_of(masks)
    if values.coloured:
        if names is not None:
            raise UsageError(
                f"{kind}: {masks[0]} holds colours, but the list of classes has numbers; expected numbers in the masks"
            )
        written = {code: ",".join(map(str, rgb(code))) for code in values.counts}
        found = {text: rgb(code) for code, text in written.items()}
        drawn = _in_colours(kind, found, tuple(found), ())
        shares = values.shares(written)
        return Found(kind, tuple(found), _labelled(pairs, drawn, split), found, named=False, drawn=None, shares=shares)
    strange = sorted(values.counts.keys() - names.keys() - {255}) if names is not None else []
    if names is not None and strange:
        raise UsageError(
            f"{kind}: the masks hold {strange[:5]}, which its list of classes does not name; expected {sorted(names)[:20]}"
        )
    numbers = {
        number: names[number] if names is not None else str(number)
        for number in sorted(values.counts)
        if names is None or number in names
    }
    if names is not None and set(values.counts) == {0, 255} and 255 not in names:
        raise UsageError(
            f"{kind}: the masks hold 0 and 255 alone, and 255 is ignored, so that only {names.get(0)} is left; expected two classes. "
            "Where 255 is the other, write `ids: [0, 255]` into classes.yaml"
        )
    known = tuple(dict.fromkeys(numbers.values()))
    table = np.full(65536, IGNORED, np.int16)
    for number, name in numbers.items():
        table[number] = known.index(name)
    told: Literal["shown"] | None = "shown" if kind == "Roboflow masks" else None
    return Found(
        kind,
        known,
        _labelled(pairs, lambda path: partial(_ids_mask, path, table), split),
        named=names is not None,
        drawn=told,
        shares=values.shares(numbers),
    )


def _of_colours(
    kind: str,
    root: Path,
    images: Path | None,
    colours: Mapping[str, Colour],
    splits: Mapping[str, str],
    where: Path | Sequence[Path],
    ignored: tuple[str, ...] = (),
) -> Found:
    masks = list(dotless(where.glob("*.png"))) if isinstance(where, Path) else list(where)
    pairs = _paired(kind, root, images, masks, set(masks))
    values = values_of(masks, by_colour=True)
    if not values.coloured:
        raise UsageError(f"{kind}: {masks[0]} holds numbers; expected the colours of its list")
    there = {rgb(code) for code in values.counts}
    used = {name: colour for name, colour in colours.items() if colour in there}
    names = tuple(name for name in used if name not in ignored)
    drawn = _in_colours(kind, used, names, ignored)
    if strange := [colour for colour in there if colour not in set(colours.values())]:
        raise UsageError(
            f"{kind}: the masks hold the colours {strange[:4]}, which its list does not name; expected only those"
        )
    return Found(kind, names, _labelled(pairs, drawn, lambda p: splits.get(p.stem)), {n: colours[n] for n in names})


Drawn = Callable[[Path], Callable[[tuple[int, int]], Numbers]]  # a label file → what draws its mask


def _in_colours(kind: str, colours: Mapping[str, Colour], names: tuple[str, ...], ignored: tuple[str, ...]) -> Drawn:
    return lambda path: partial(_colours_mask, path, kind, colours, names, ignored)


def _labelled(
    pairs: Iterable[tuple[Path, Path]],
    draw: Drawn,
    split: Callable[[Path], str | None],
) -> tuple[Labelled, ...]:
    return tuple(Labelled(image, mask, draw(mask), split(mask)) for image, mask in pairs)


def _paired(
    kind: str, root: Path, images: Path | None, masks: Sequence[Path], taken: set[Path]
) -> list[tuple[Path, Path]]:
    by_folder: dict[Path, dict[str, Path]] = {}
    every: dict[str, Path] = {}
    for path in [p for base in ([images] if images else []) + [root] for p in dotless(base.rglob("*"))]:
        if is_image(path) and path not in taken:
            by_folder.setdefault(path.parent, {}).setdefault(path.stem, path)
            every.setdefault(path.stem, path)
    pairs, missing = [], []
    for mask in masks:
        near = _near(mask, by_folder) or {}
        stems = [mask.stem, *(mask.stem.removesuffix(after) for after in _AFTER if mask.stem.endswith(after))]
        image = next(
            (found for stem in stems for found in (near.get(stem), every.get(stem)) if found is not None), None
        )
        if image is None:
            missing.append(str(mask))
        else:
            pairs.append((image, mask))
    expect_pictures(kind, root, missing, images)
    return pairs


def _near(mask: Path, by_folder: Mapping[Path, dict[str, Path]]) -> dict[str, Path] | None:
    """The pictures of the folder that belongs to the mask's: `images/train` to `masks/train`."""
    parts = mask.parent.parts
    for place, part in enumerate(parts):
        if part.lower() in {n.lower() for n in _MASK_FOLDERS} | {"ann_dir"}:
            for name in (*_IMAGE_FOLDERS, "img_dir"):
                if (found := by_folder.get(Path(*parts[:place], name, *parts[place + 1 :]))) is not None:
                    return found
    return by_folder.get(mask.parent)


def _ids_mask(path: Path, table: NDArray[np.int16], size: tuple[int, int]) -> Numbers:
    mask = read_mask(path)
    numbers = mask.values[..., 0] if mask.coloured else mask.values
    return _where_drawn(table[numbers], mask)


def _colours_mask(
    path: Path,
    kind: str,
    colours: Mapping[str, Colour],
    names: tuple[str, ...],
    ignored: tuple[str, ...],
    size: tuple[int, int],
) -> Numbers:
    mask = read_mask(path)
    codes = codes_of(mask)
    found = np.full(codes.shape, NOTHING, np.int16)
    for name, (red, green, blue) in colours.items():
        found[codes == (red << 16 | green << 8 | blue)] = names.index(name) if name in names else IGNORED
    return _where_drawn(found, mask)


def _where_drawn(found: Numbers, mask: Mask) -> Numbers:
    if mask.transparent is not None:
        found[mask.transparent] = IGNORED
    return found
