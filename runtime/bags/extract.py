"""A recording's images, and the labels that a model gives them, as a data set of one's own: images/, labels/, classes.yaml."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..artifacts.artifact import Artifact
from ..artifacts.files import there, unwritable, write_atomically
from ..errors import OutputError, UsageError
from .label import window
from .labeller import Labeller
from .options import Options
from .reading import Bag

TRAIN, VAL = "train", "val"
_CLASSES = "classes.yaml"


def extract(
    source: Path,
    dataset: Path,
    labeller: Labeller,
    options: Options,
    *,
    val: float = 0.2,
    labels: bool = True,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Write each image as PNG, with its labels beside it; gives their number. What is there already stays as it is.

    The end of a recording becomes `val`: neighbours in time look alike, so a random choice would test on what was trained.

    Args:
        val: share of the recording's images that become `val`, 0 to 1.
        labels: write what the model sees, to be corrected; without, `labels/` stays empty.

    Raises:
        UsageError: the data set has other classes.
        SourceError, OutputError: as in `label_log`.
    """
    artifact = labeller.segmenter.artifact
    with Bag(source) as bag:
        images = bag.image_topics(list(options.topics))
        _write_classes(dataset, artifact)
        for split in (TRAIN, VAL):
            for kind in ("images", "labels"):
                try:
                    (dataset / kind / split).mkdir(parents=True, exist_ok=True)
                except OSError as error:
                    raise unwritable(dataset / kind / split, error) from error
        start, stop = window(bag, options)
        counts = {one.id: len([None for _ in bag.read([one], start, stop)]) for one in images}
        total, seen, written = sum(counts.values()), dict.fromkeys(counts, 0), 0
        for done, (connection, _, data) in enumerate(bag.read(images, start, stop), 1):
            place = seen[connection.id]
            seen[connection.id] += 1
            if place % options.every == 0:
                header, frame = bag.picture(connection, data)
                split = VAL if place >= counts[connection.id] * (1 - val) else TRAIN
                name = f"{_plain(source.stem)}{_plain(connection.topic)}_{header.stamp:019d}.png"
                if labels and not there(dataset / "labels" / split / name):
                    _write(dataset / "labels" / split / name, labeller.segmenter(frame).labels)
                if not there(dataset / "images" / split / name):  # last: an image without its labels would be a fault
                    _write(dataset / "images" / split / name, frame)
                written += 1
            tell(done, total)
    return written


def _write(path: Path, pixels: NDArray[np.uint8]) -> None:
    done, data = cv2.imencode(".png", pixels)
    if not done:
        raise OutputError(f"OpenCV cannot encode a PNG of shape {pixels.shape}")
    write_atomically(path, data.tobytes())


def _write_classes(dataset: Path, artifact: Artifact) -> None:
    lines = [f"name: {json.dumps(artifact.class_set)}", "classes:"]
    pairs = zip(artifact.classes, artifact.palette, strict=True)
    lines += [f"  {json.dumps(name)}: [{', '.join(map(str, colour))}]" for name, colour in pairs]
    text = ("\n".join(lines) + "\n").encode()
    path = dataset / _CLASSES
    if there(path):
        if path.read_bytes() != text:
            raise UsageError(f"{path} names other classes than the model has; expected the same. Choose another folder")
        return
    try:
        dataset.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(dataset, error) from error
    write_atomically(path, text)


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "_", name)
