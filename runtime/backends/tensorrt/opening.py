"""Which device an engine runs on, and what happens where it cannot."""

from __future__ import annotations

import warnings
from pathlib import Path

from ...artifacts import engine_file, onnx_file
from ...errors import ArtifactError, DeviceError, UsageError
from ..protocol import Backend
from .backend import TensorRTBackend


def open_engine(
    path: str | Path,
    device: str,
    threads: int | None,
    memory: str = "auto",
    trust: bool = False,
    unknown_below: float | None = None,
) -> Backend:
    """A TensorRT backend; with device "auto" ONNX Runtime where the engine does not fit and its ONNX file lies beside it.

    Only a misfit leads there, never damage: a plan that is not what its description says is refused.

    Warns:
        RuntimeWarning: ONNX Runtime stands in.

    Raises:
        ArtifactError, DeviceError: see TensorRTBackend.
        UsageError: a device other than "auto" and "cuda".
    """
    if device not in ("auto", "cuda"):
        raise UsageError(
            f"{path} is an engine, which runs on a GPU only; for device {device!r} open the ONNX file that it was built from"
        )
    try:
        return TensorRTBackend(path, memory=memory, threads=threads, trust=trust, unknown_below=unknown_below)
    except DeviceError as error:
        if device == "cuda":
            raise
        try:
            sibling = _source(Path(path))
        except ArtifactError as missing:
            raise DeviceError(f"{error}. Nor can ONNX Runtime stand in: {missing}") from error
        from ..onnxruntime import OnnxRuntimeBackend

        backend = OnnxRuntimeBackend(sibling, "auto", threads)
        backend.unknown_below = unknown_below
        warnings.warn(
            f"running {sibling} on {backend.device} instead of the engine: {error}. device='cuda' would refuse",
            RuntimeWarning,
            stacklevel=2,
        )
        return backend


def _source(engine: Path) -> Path:
    """The ONNX file beside an engine that it was built from.

    Raises:
        ArtifactError: it is not there, or another file has its name.
    """
    description = engine_file.read_description(engine)
    path = engine.with_name(description.source)
    if engine_file.digest(onnx_file.read(path)) != description.source_sha256:
        raise ArtifactError(f"{path} is not the file that the engine was built from; put that one beside it")
    return path
