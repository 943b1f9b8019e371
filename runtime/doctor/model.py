"""Does a model or an engine fit this machine? Its description is read here; it is run in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..artifacts import engine_file, onnx_file
from ..artifacts.artifact import Artifact
from ..errors import FastSCNNError
from .finding import FAILURE, OK, WARNING, Finding
from .look import UnansweredError, ask

_REMEDIES = {
    False: "Export it again with fastscnn-export, and see the lines above",
    True: "Build it on this machine, or for it: fastscnn-trt build model.onnx",
}


def fit(path: str) -> Iterator[Finding]:
    """What the file is, each reason against it, and whether it runs."""
    engine = Path(path).suffix == ".plan" or engine_file.description_path(path).exists()
    try:
        if engine:
            _, description = engine_file.read(path)
            artifact: Artifact = description.artifact
            kind = (
                f"engine for {', '.join(description.targets)}, {description.precision}, {description.size / 1e6:.1f} MB"
            )
        else:
            artifact = onnx_file.artifact(onnx_file.read(path), path)
            kind = f"ONNX file, {artifact.precision}"
    except FastSCNNError as error:
        yield Finding("model", "file", FAILURE, str(error), _REMEDIES[engine])
        return
    what = (
        f"{kind}, head {artifact.head}, {artifact.resolution}, {len(artifact.classes)} classes of {artifact.class_set}"
    )
    if artifact.trained:
        yield Finding("model", "file", OK, what)
    else:
        remedy = "Export trained weights: fastscnn-export --checkpoint F"
        yield Finding("model", "file", WARNING, f"{what}; its weights are random, so labels mean nothing", remedy)
    try:
        reasons = ask("misfits", path=path)["reasons"] if engine else []
        for reason in reasons:
            yield Finding("model", "fit", FAILURE, reason, _REMEDIES[engine])
        if not reasons:
            told = ask("trial", path=path)
            yield Finding("model", "fit", OK, f"runs on {told['device']}, {told['milliseconds']:.1f} ms a frame")
    except UnansweredError as error:
        yield Finding("model", "fit", FAILURE, f"it does not run here: {error}", _REMEDIES[engine])
