"""Which format lies in a folder."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from ...runtime.commands.command import did_you_mean
from ...runtime.errors import UsageError
from .coco import coco
from .label_studio import label_studio
from .mask_files import camvid, cvat, folders, mmsegmentation, roboflow, voc
from .polygons import cityscapes, labelme, yolo
from .source import Found

log = logging.getLogger(__name__)

Reader = Callable[[Path, Path | None], Found | None]

# In the order in which they are tried: those that leave the clearest traces first.
FORMATS: dict[str, Reader] = {
    "cityscapes": cityscapes,
    "roboflow": roboflow,
    "cvat": cvat,
    "voc": voc,
    "mmsegmentation": mmsegmentation,
    "camvid": camvid,
    "label-studio": label_studio,
    "coco": coco,
    "yolo": yolo,
    "labelme": labelme,
    "folders": folders,
}


def recognised(root: Path, images: Path | None = None, format: str | None = None) -> Found:
    """The folder read as the first format that fits.

    Args:
        images: where the pictures are, if not below `root`.
        format: read it as this one.

    Raises:
        UsageError: no folder, nothing known in it, labels without pictures, or a list of classes that does not fit.
        SourceError: a file that cannot be read.
    """
    for folder in (root, *([images] if images else [])):
        if not folder.is_dir():
            raise UsageError(f"{folder} is not a folder; expected what an annotation tool wrote. Unpack archives first")
    if format is not None and format not in FORMATS:
        raise UsageError(
            f"the format {format!r} is unknown; expected one of {', '.join(FORMATS)}.{did_you_mean(format, list(FORMATS))}"
        )
    for name, reader in FORMATS.items():
        if format in (None, name) and (found := reader(root, images)) is not None and found.pictures:
            log.info("%s: %s, %d pictures", root, found.kind, len(found.pictures))
            for note in found.notes:
                log.warning("%s", note)
            return found
    there = ", ".join(sorted(p.name for p in root.iterdir())[:8]) or "nothing"
    if (root / "classes.yaml").is_file() and (root / "images").is_dir() and (root / "labels").is_dir():
        raise UsageError(
            f"{root} is a data set of this project's layout; expected one of another. For a recipe: fastscnn-data recipe {root}"
        )
    what = "no known format was found" if format is None else f"nothing of the format {format} was found"
    raise UsageError(
        f"{root}: {what}; found {there}; expected labelme JSON, CVAT or VOC masks, COCO JSON, Roboflow masks, Label Studio PNGs, "
        "YOLO polygons, CamVid, MMSegmentation, Cityscapes, or folders such as images/ and masks/"
    )
