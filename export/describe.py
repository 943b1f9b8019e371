"""Put the description back into a file that another tool took it from, once it is shown that the two graphs agree."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.artifacts import onnx_file
from ..runtime.artifacts.artifact import OUTPUTS, Artifact
from ..runtime.artifacts.files import write_atomically
from ..runtime.artifacts.onnx_unsigned import unsigned
from ..runtime.backends.agreement import clear, share
from ..runtime.backends.cores import usable_cores
from ..runtime.backends.logits import check_graph
from ..runtime.backends.onnxruntime import open_session, tensors
from ..runtime.backends.trial import scene
from ..runtime.commands import command
from ..runtime.errors import ParityError
from ..runtime.frame import InputLayout
from .tolerance import TOLERANCE

log = logging.getLogger(__name__)

_SCENES = 3  # drawn, of the model's resolution
_LEAST = 0.999  # of the cells of the logits' grid, that have the same label: a file's own steps never move more
Graph = tuple[str, bytes]  # what messages call it, and its bytes


def describe(original: str | Path, changed: str | Path, output: str | Path | None = None) -> Path:
    """Write `changed` with the description of `original`; gives the file's path.

    Args:
        original: a file that fastscnn-export or fastscnn-quantize wrote.
        changed: what another tool made of it.
        output: None puts the description into `changed` itself.

    Raises:
        ArtifactError: the original is none, or the other has what no export has.
        DeviceError: ONNX Runtime is not installed, or too old for the file.
        ParityError: the two do not compute the same; nothing is written.
        OutputError: the file cannot be written.
    """
    source = onnx_file.read(original)
    artifact = onnx_file.artifact(source, str(original))
    target = Path(output or changed)
    command.expect_folder(target)
    data = onnx_file.described(onnx_file.read(changed), artifact)
    onnx_file.artifact(data, str(changed))
    images = [
        InputLayout(artifact)([scene(artifact.height, artifact.width, seed)] * artifact.batch)
        for seed in range(_SCENES)
    ]
    _expect_agreement(artifact, (str(original), source), (str(changed), data), images)
    write_atomically(target, data)
    log.info("%s gives what %s gives; the description is in %s", changed, original, target)
    return target


def _expect_agreement(artifact: Artifact, original: Graph, changed: Graph, images: list[NDArray[Any]]) -> None:
    """The networks as the runtime cuts them off, and the graphs as they stand, as other engines run them."""
    bound = TOLERANCE[artifact.precision]
    size = (artifact.height, artifact.width)
    logits, results = _answers(artifact, original, images), _answers(artifact, changed, images)
    for expected, found in zip(logits, results, strict=True):
        difference = share(found[0], expected[0])
        if not difference <= bound:
            raise _parity(
                original, changed, f"the logits part by {difference:.1e} of their range; expected at most {bound:.0e}"
            )
        equal = float(np.mean(found[0].argmax(axis=1) == expected[0].argmax(axis=1)))
        if equal < _LEAST:
            raise _parity(original, changed, f"{1 - equal:.1%} of the logits' cells have another label")
        one, other = found[1].astype(np.float32), expected[1].astype(np.float32)
        if one.shape != other.shape:
            raise _parity(
                original, changed, f"the {OUTPUTS[artifact.head]} have the shape {one.shape}; expected {other.shape}"
            )
        if artifact.head == "cls":
            certain = np.stack([clear(each, size, bound, artifact.align_corners) for each in expected[0]])
            wrong = int(np.sum((one != other) & certain))
            if wrong or np.mean(one == other) < _LEAST:
                raise _parity(
                    original,
                    changed,
                    f"{int(np.sum(one != other)):,} pixels have another label, {wrong:,} of them no ties",
                )
        elif not float(np.abs(one - other).max()) <= bound * max(1.0, float(np.ptp(other))):
            raise _parity(
                original, changed, f"the {OUTPUTS[artifact.head]} part by {float(np.abs(one - other).max()):.1e}"
            )


def _parity(original: Graph, changed: Graph, found: str) -> ParityError:
    return ParityError(
        f"{changed[0]} does not compute what {original[0]} does: {found}. Nothing was written; change the original anew"
    )


def _answers(artifact: Artifact, graph: Graph, images: list[NDArray[Any]]) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """The logits of each image as the runtime computes them, and the whole graph's result."""
    source, data = graph
    cut = onnx_file.without_head(data, source)
    network = open_session(unsigned(cut) if artifact.precision == "int8" else cut, source, "cpu", usable_cores())
    check_graph(tensors(network), onnx_file.outputs(data), artifact, source)
    whole = open_session(data, source, "cpu", usable_cores())
    return [(network.run(None, {"image": image})[0], whole.run(None, {"image": image})[0]) for image in images]
