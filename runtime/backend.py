"""What an inference engine must offer to stand behind a Segmenter, and the choice among them."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .artifact import Artifact
from .errors import DeviceError, UsageError
from .files import there
from .frame import Frame

log = logging.getLogger(__name__)

DEVICES = ("auto", "cpu", "cuda", "openvino", "openvino-bf16", "openvino-gpu")
PREFERRED = "FASTSCNN_DEVICE"  # environment variable: what "auto" means on this machine for ONNX files
SUFFIX = ".plan"  # of engines

_THREADS_A_CORE = 8  # beyond, engines take minutes to start them


@dataclass(frozen=True)
class Raw:
    """One batch's results at the model's resolution: the one that the head gives, and the time that each stage took."""

    labels: NDArray[np.uint8] | None  # (N, H, W)
    probabilities: NDArray[np.float32] | None  # (N, C, H, W)
    # (N, C, ~H/8, ~W/8), float32 or float16; whatever the head, where the engine gives them
    logits: NDArray[Any] | None
    forward: float  # milliseconds
    decode: float  # milliseconds
    prepare: float = 0.0  # milliseconds; of backends that take frames as they are


class Backend(Protocol):
    """Runs one artefact on one device. `run` may be called from several threads at once."""

    artifact: Artifact
    device: str  # what it runs on, in words that a report can print
    precision: str  # that it computes in: "fp32", "fp16", "bf16"
    why: str  # how "auto" came to choose it, a sentence; empty where the caller named it

    def run(self, image: NDArray[Any]) -> Raw:
        """`image`: what the artefact's `input` tells, of its batch and resolution, contiguous."""
        ...

    def labels(self, logits: NDArray[Any]) -> NDArray[np.uint8]:
        """(C, h, w) logits → (H, W) labels, for results of a logits head."""
        ...

    def region(self, logits: NDArray[Any], rows: slice, columns: slice) -> NDArray[np.float32]:
        """(C, h, w) logits → (C, rows, columns) probabilities of a part of the model's resolution."""
        ...

    def close(self) -> None:
        """Release everything; twice is harmless."""
        ...


@runtime_checkable
class FrameBackend(Backend, Protocol):
    """One that resizes and lays out frames by itself, where that is cheaper than on the CPU."""

    def run_frames(self, frames: Sequence[Frame]) -> Raw:
        """Up to a batch of frames (see `frame.checked`), of any size; results at the model's resolution."""
        ...

    def fill_slots(self) -> None:
        """Make what several calls at once need; calls that follow one another then take it in turn."""
        ...


def open_backend(
    path: str | Path, device: str, threads: int | None, memory: str = "auto", trust: bool = False
) -> Backend:
    """Open the engine that fits the file and the device.

    Raises:
        UsageError: unknown device or thread count.
        ParityError: a device of reduced precision, named by the caller, whose results part from float32's.
        ArtifactError, DeviceError: see the engine's own module.
    """
    engine = Path(path).suffix == SUFFIX or there(f"{path}.json")
    if device == "auto" and not engine:
        device = os.environ.get(PREFERRED) or "auto"
    if device not in DEVICES:
        raise UsageError(f"device {device!r} is unknown; expected one of {', '.join(DEVICES)}")
    most = _THREADS_A_CORE * (os.cpu_count() or 1)
    if threads is not None and (not isinstance(threads, int) or not 1 <= threads <= most):
        raise UsageError(
            f"{threads!r} threads; expected 1 to {most} ({_THREADS_A_CORE} a core), or none for as many as there are cores"
        )
    if engine:
        from .tensorrt import open_engine

        return open_engine(path, device, threads, memory, trust)
    if memory != "auto":
        raise UsageError(f"memory {memory!r} is for engines ({SUFFIX}); {path} is none")
    from . import openvino_backend

    if device == "openvino":
        return openvino_backend.OpenVinoBackend(path, device, threads)
    if device in openvino_backend.VARIANTS or (device == "auto" and openvino_backend.installed() and not _on_cuda()):
        return _tried(path, device, threads)
    from .onnxruntime_backend import OnnxRuntimeBackend

    return OnnxRuntimeBackend(path, device, threads)


def _tried(path: str | Path, device: str, threads: int | None) -> Backend:
    """What a trial on this machine chose, now or earlier; or the device that was named, if the trial lets it pass."""
    from . import trial
    from .onnxruntime_backend import OnnxRuntimeBackend
    from .openvino_backend import OpenVinoBackend, available

    def open_one(name: str) -> OnnxRuntimeBackend | OpenVinoBackend:
        kind = OnnxRuntimeBackend if name == trial.REFERENCE else OpenVinoBackend
        return kind(path, name, threads)

    def hold() -> tuple[trial.Trial, OnnxRuntimeBackend | OpenVinoBackend]:
        return trial.hold(path, threads, [trial.REFERENCE, *available()], open_one)

    result = trial.known(path, threads)
    if device != "auto":
        if result is None:
            result, opened = hold()
            opened.close()
        trial.expect_agreement(result, device)
        return open_one(device)
    try:
        result, opened = (result, open_one(result.chosen)) if result else hold()
    except DeviceError as error:  # an OpenVINO that is installed and broken
        log.debug("no choice among engines: %s", error)
        return open_one(trial.REFERENCE)
    opened.why = str(result)
    return opened


def _on_cuda() -> bool:
    """Whether ONNX Runtime's GPU package is there, which no trial of CPUs can beat."""
    try:
        import onnxruntime
    except Exception:  # what a broken package raises is told when it is opened
        return False
    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()
