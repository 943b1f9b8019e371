"""Which engine runs a file on a device; "auto" tries."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from ..artifacts.files import there
from ..errors import DeviceError, UsageError
from .protocol import Backend

log = logging.getLogger(__name__)

MEANINGS = {
    "auto": "engines (.plan): their GPU. ONNX files: CUDA where ONNX Runtime has it, else the fastest engine of a trial on this machine",
    "cpu": "ONNX Runtime on the CPU",
    "cuda": "an engine's GPU, or ONNX Runtime on CUDA; refuses where there is none",
    "openvino": "OpenVINO on the CPU in float32",
    "openvino-bf16": "OpenVINO on the CPU in BF16; refused where its labels part from float32's",
    "openvino-gpu": "OpenVINO on an Intel GPU; refused likewise",
}
DEVICES = tuple(MEANINGS)
PREFERRED = "FASTSCNN_DEVICE"  # environment variable: what "auto" means on this machine for ONNX files
SUFFIX = ".plan"  # of engines

_THREADS_A_CORE = 8  # beyond, engines take minutes to start them


def open_backend(
    path: str | Path,
    device: str,
    threads: int | None,
    memory: str = "auto",
    trust: bool = False,
    unknown_below: float | None = None,
    try_again: bool = False,
) -> Backend:
    """Open the engine that fits the file and the device.

    Args:
        try_again: hold the trial of engines once more, though an earlier one is kept.

    Raises:
        UsageError: unknown device, thread count or probability.
        ParityError: a device of reduced precision, named by the caller, whose results part from float32's.
        ArtifactError, DeviceError: see the engine's own module.
    """
    if unknown_below is not None and not 0 <= unknown_below <= 1:
        raise UsageError(f"unknown_below {unknown_below!r} is no probability; expected 0 to 1")
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

        return open_engine(path, device, threads, memory, trust, unknown_below)
    if memory != "auto":
        raise UsageError(f"memory {memory!r} is for engines ({SUFFIX}); {path} is none")
    backend = _open_onnx(path, device, threads, try_again)
    backend.unknown_below = unknown_below
    return backend


def _open_onnx(path: str | Path, device: str, threads: int | None, try_again: bool) -> Backend:
    from . import openvino as openvino_backend

    named = device in openvino_backend.VARIANTS
    if named and not openvino_backend.installed():
        return openvino_backend.OpenVinoBackend(path, device, threads)  # which says how to install it
    if named or (device == "auto" and openvino_backend.installed() and not _on_cuda()):
        return _tried(path, device, threads, try_again)
    from .onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(path, device, threads)


def _tried(path: str | Path, device: str, threads: int | None, again: bool) -> Backend:
    """What a trial on this machine chose, now or earlier; or the device that was named, if the trial lets it pass."""
    from . import trial

    try:
        result = (None if again else trial.known(path, threads)) or trial.hold(path, threads)
    except trial.UntriedError as error:
        if device != "auto":
            raise DeviceError(f"device {device!r} cannot be used: {error}") from None
        log.debug("no choice among engines: %s", error)
        return trial.open_one(path, trial.REFERENCE, threads)
    except trial.UnrunError as error:
        named = trial.REFERENCE if device == "auto" else device
        if named in error.lost:
            raise DeviceError(str(error)) from None
        return trial.open_one(path, named, threads)  # which says in full what is wrong with the file
    if device != "auto":
        trial.expect_agreement(result, device)
        return trial.open_one(path, device, threads)
    opened = trial.open_one(path, result.chosen, threads)
    opened.why = str(result)
    return opened


def _on_cuda() -> bool:
    """Whether ONNX Runtime's GPU package is there, which no trial of CPUs can beat; it is not imported, as it may be broken."""
    from .trial import versions

    return bool(versions("onnxruntime-gpu"))
