"""What the numbers and colours in a folder of results mean, for whoever finds it in a year."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ..artifacts.artifact import Artifact
from ..artifacts.files import write_atomically

LEGEND = "legend.json"


def add_legend(folder: Path, artifact: Artifact, model: Path) -> None:
    """Write `legend.json` into a folder that exists.

    Raises:
        OutputError: it cannot be written.
    """
    write_atomically(folder / LEGEND, (json.dumps(legend(artifact, model), indent=2) + "\n").encode())


def legend(artifact: Artifact, model: Path) -> dict[str, object]:
    """Names and colours (RGB) of the labels, and which model they are of."""
    return {
        "classes": [
            {"label": label, "name": name, "colour": list(colour)}
            for label, (name, colour) in enumerate(zip(artifact.classes, artifact.palette, strict=True))
        ],
        "ignore": 255,
        "class_set": artifact.class_set,
        "model": {
            "file": model.name,
            "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
            "checkpoint": artifact.checkpoint,
            "head": artifact.head,
            "resolution": artifact.resolution,
        },
    }
