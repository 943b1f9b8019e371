"""Which engine runs a file on a device; "auto" tries."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from ..artifacts.files import there
from ..errors import DeviceError, UsageError
from .protocol import Backend

log = logging.getLogger(__name__)

DEVICES = ("auto", "cpu", "cuda", "openvino", "openvino-bf16", "openvino-gpu")
PREFERRED = "FASTSCNN_DEVICE"  # environment variable: what "auto" means on this machine for ONNX files
SUFFIX = ".plan"  # of engines

_THREADS_A_CORE = 8  # beyond, engines take minutes to start them


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
    from . import openvino as openvino_backend

    if device == "openvino":
        return openvino_backend.OpenVinoBackend(path, device, threads)
    if device in openvino_backend.VARIANTS or (device == "auto" and openvino_backend.installed() and not _on_cuda()):
        return _tried(path, device, threads)
    from .onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(path, device, threads)


def _tried(path: str | Path, device: str, threads: int | None) -> Backend:
    """What a trial on this machine chose, now or earlier; or the device that was named, if the trial lets it pass."""
    from . import trial
    from .onnxruntime import OnnxRuntimeBackend
    from .openvino import OpenVinoBackend, available

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
