"""ONNX Runtime on the CPU, or on CUDA where its GPU package is installed."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import onnx_file
from .artifact import OUTPUTS, Artifact
from .backend import Raw
from .decode import Decoder
from .errors import ArtifactError, DeviceError

log = logging.getLogger(__name__)


class OnnxRuntimeBackend:
    """Runs the graph up to the low-resolution logits and decodes them exactly on the CPU.

    Args:
        threads: for the network and the decode; None takes as many as this process may use.

    Raises:
        ArtifactError: the file is missing, damaged, not this project's, or ONNX Runtime refuses its graph.
        DeviceError: ONNX Runtime or its CUDA provider is not there.
    """

    def __init__(self, path: str | Path, device: str = "auto", threads: int | None = None) -> None:
        model = onnx_file.read(path)
        self.artifact = onnx_file.artifact(model, str(path))
        threads = threads or usable_cores()
        network = model if self.artifact.head == "logits" else onnx_file.without_head(model, str(path))
        if self.artifact.precision == "int8":
            network = onnx_file.unsigned(network)
        self._session = open_session(network, str(path), device, threads)
        _check_graph(self._session, onnx_file.outputs(model), self.artifact, str(path))
        self.device = describe(self._session, threads)
        # On the CPU one run takes all threads; two at once would only wait for each other.
        self._one_at_a_time = threading.Lock() if device_is_cpu(self._session) else nullcontext()
        self._decoder = Decoder.of(self.artifact, threads)

    def run(self, image: NDArray[Any]) -> Raw:
        with self._one_at_a_time:
            started = time.perf_counter()
            logits = self._session.run([onnx_file.LOGITS], {"image": image})[0]
            forwarded = time.perf_counter()
        labels = probabilities = None
        if self.artifact.head == "cls":
            labels = _stacked([self._decoder.labels(one) for one in logits])
        elif self.artifact.head == "prob":
            probabilities = _stacked([self._decoder.probabilities(one) for one in logits])
        decoded = time.perf_counter()
        return Raw(
            labels,
            probabilities,
            logits if self.artifact.head == "logits" else None,
            forward=(forwarded - started) * 1e3,
            decode=(decoded - forwarded) * 1e3,
        )

    def labels(self, logits: NDArray[Any]) -> NDArray[np.uint8]:
        return self._decoder.labels(logits)

    def close(self) -> None:
        self._session = None
        self._decoder.close()


def _check_graph(session: Any, outputs: list[str], artifact: Artifact, source: str) -> None:
    """Does the graph take and give what its description says? Found here, not at the first frame."""
    a = artifact
    element = "tensor(float16)" if a.precision == "fp16" else "tensor(float)"
    image = ("tensor(uint8)", [a.batch, a.height, a.width, 3])
    if a.input == "float":
        image = ("tensor(float)", [a.batch, 3, a.height, a.width])
    logits = (element, [a.batch, len(a.classes), a.logits_height, a.logits_width])
    inputs, results = session.get_inputs(), session.get_outputs()
    found = [(t.name, t.type, list(t.shape)) for t in [*inputs, *results]]
    expected = [("image", *image), (onnx_file.LOGITS, *logits)]
    if found != expected or outputs != [OUTPUTS[a.head]]:
        raise ArtifactError(
            f"{source} does not match its own description: the graph has {found} and ends in {', '.join(outputs)}; "
            f"expected {expected} and {OUTPUTS[a.head]}. It was edited; export it again with fastscnn-export"
        )


def open_session(model: bytes, source: str, device: str, threads: int) -> Any:
    """An `onnxruntime.InferenceSession`; `source` names the file in messages, `threads` counts the CPU's."""
    try:
        import onnxruntime
    except ImportError as error:
        raise DeviceError(
            f"ONNX files run on ONNX Runtime, which cannot be imported ({error}). Install it with: pip install 'fastscnn[cpu]'"
        ) from None
    available = onnxruntime.get_available_providers()
    providers: list[Any] = ["CPUExecutionProvider"]
    if device == "cuda" and "CUDAExecutionProvider" not in available:
        raise DeviceError(
            "device 'cuda' was asked for, but this ONNX Runtime has only the CPU. "
            "Install its GPU package with: pip uninstall onnxruntime && pip install 'fastscnn[gpu]'"
        )
    if device != "cpu" and "CUDAExecutionProvider" in available:
        providers.insert(0, ("CUDAExecutionProvider", {"use_tf32": "0"}))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads wait actively within a run, where sleeping costs 15%, and not after it, where decode and robot want the cores.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # Small shares of work, handed out as threads come free: a core that something else uses does not hold up the rest.
    options.add_session_config_entry("session.dynamic_block_base", "4")
    # Without VNNI instructions sums of unsigned by signed products overflow; slower kernels then give the right ones.
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3  # errors; warnings about provider choice are said below, once and in words
    try:
        session = onnxruntime.InferenceSession(model, options, providers=providers)
    except Exception as error:  # ONNX Runtime's own exception types are private
        raise ArtifactError(
            f"ONNX Runtime refuses {source}: {_first_line(error)}. Export it again with fastscnn-export"
        ) from error
    if len(providers) > 1 and session.get_providers()[0] != "CUDAExecutionProvider":
        found = (
            "ONNX Runtime's CUDA provider is installed but does not start (driver, CUDA or cuDNN libraries missing?)"
        )
        if device == "cuda":
            raise DeviceError(f"{found}; expected a working GPU. Look at `nvidia-smi`, or use device 'cpu'")
        log.warning("%s; running on the CPU", found)
    return session


def describe(session: Any, threads: int) -> str:
    if not device_is_cpu(session):
        return "ONNX Runtime CUDA"
    return f"ONNX Runtime CPU, {threads} thread{'s' if threads > 1 else ''}"


def device_is_cpu(session: Any) -> bool:
    return bool(session.get_providers()[0] == "CPUExecutionProvider")


def usable_cores() -> int:
    """Cores that this process may use: those of its affinity mask, or fewer where a container has a quota."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        cores = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroups, or "max"
        return cores


def _stacked(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return parts[0][None] if len(parts) == 1 else np.stack(parts)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
