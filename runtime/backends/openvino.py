"""OpenVINO on Intel and other CPUs in float32, in bfloat16 where the processor multiplies that, and on Intel GPUs in float16."""

from __future__ import annotations

import importlib.util
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .. import privacy
from ..artifacts import onnx_file
from ..artifacts.artifact import Artifact
from ..errors import ArtifactError, DeviceError
from ..text import first_line
from . import bfloat16, channels_last
from .beside import Beside
from .cores import usable_cores
from .logits import LogitsBackend, Tensor, check_graph

# Device name → OpenVINO's device, precision hint, and the arithmetic as reports name it.
VARIANTS = {
    "openvino": ("CPU", "f32", "fp32"),
    "openvino-bf16": ("CPU", "bf16", "bf16"),
    "openvino-gpu": ("GPU", "f16", "fp16"),
}
# On the CPU; `python -m fastscnn.benchmarks.neighbours` times others. Unpinned, because the decode and the rest of the robot
# share these cores.
THREADING: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
# Pixels up to which a frame is over before Linux has given each thread a core of its own: at 256x512 that costs a quarter of the
# time, which pinned threads do not lose. Beside busy programs they lose it where the unpinned ones make way. At 384x640 both are the same.
_SMALL = 200_000


class OpenVinoBackend(LogitsBackend):
    """Runs the graph up to the low-resolution logits and decodes them exactly on the CPU.

    Args:
        device: one of VARIANTS.
        threads: for the network and the decode; None takes as many as this process may use.

    Raises:
        ArtifactError: the file is missing, damaged, not this project's, or OpenVINO refuses its graph.
        DeviceError: OpenVINO is not installed, or this machine lacks the device or the precision.
    """

    def __init__(self, path: str | Path, device: str = "openvino", threads: int | None = None) -> None:
        model = onnx_file.read(path)
        artifact = onnx_file.artifact(model, str(path))
        threads = threads or usable_cores()
        place, hint, precision = VARIANTS[device]
        core = _core()
        _expect(core, device)
        properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
        if place == "CPU":
            properties |= {**THREADING, "INFERENCE_NUM_THREADS": threads}
        network = model if artifact.head == "logits" else onnx_file.without_head(model, str(path))
        try:
            graph = core.read_model(network)
            check_graph(_tensors(graph), onnx_file.outputs(model), artifact, str(path))
            if precision == "bf16":
                bfloat16.prepare(graph)
            channels_last.prepare(graph)
            pins = place == "CPU" and _pins(artifact, threads)
            alone = {**properties, "ENABLE_CPU_PINNING": True} if pins else properties
            self._request = core.compile_model(graph, place, alone).create_infer_request()
        except RuntimeError as error:
            raise ArtifactError(
                f"OpenVINO refuses {path}: {first_line(error)}. Export it again with fastscnn-export, or use device 'cpu'"
            ) from error
        super().__init__(artifact, threads, alone=True)
        shared = f", {threads} thread{'s' if threads > 1 else ''}" if place == "CPU" else ""
        quantised = artifact.precision == "int8"
        beside = f"int8 and {precision}" if quantised else precision
        self.device = f"OpenVINO {place} {beside}{shared}"
        self.precision = artifact.precision if quantised or hint == "f32" else precision
        self._beside = (
            Beside(lambda: core.compile_model(graph, place, properties).create_infer_request()) if pins else None
        )
        self._tensor = privacy.engine("openvino").Tensor

    def forward(self, image: NDArray[Any], turn: AbstractContextManager[Any]) -> NDArray[Any]:
        logits = self.rooms.array()
        with turn:
            request = (self._beside and self._beside.now()) or self._request
            request.set_output_tensor(self._tensor(logits, shared_memory=True))
            # Not as an argument of `infer`, which looks for the meaning of its arguments for 0.1 ms.
            request.set_input_tensor(self._tensor(image, shared_memory=True))
            request.infer(share_outputs=True)
        return logits

    def close(self) -> None:
        if self._beside:
            self._beside.close()
        self._request = self._beside = None
        super().close()


def _pins(artifact: Artifact, threads: int) -> bool:
    """Whether pinning pays: small frames, a core for each thread and none to spare, as pinning takes the first ones."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    small = artifact.batch * artifact.height * artifact.width <= _SMALL
    return small and threads > 1 and threads == len(allowed)


def installed() -> bool:
    """Without importing it, which takes a while."""
    return importlib.util.find_spec("openvino") is not None


def reads(network: bytes) -> bool:
    """Whether the OpenVINO that is here reads a graph."""
    try:
        _core().read_model(network)
    except (DeviceError, RuntimeError):
        return False
    return True


def available() -> list[str]:
    """Those of VARIANTS that this machine has.

    Raises:
        DeviceError: OpenVINO is not installed.
    """
    core = _core()
    return [name for name in VARIANTS if _lacks(core, name) is None]


def _core() -> Any:
    try:
        return privacy.engine("openvino").Core()
    except Exception as error:  # not there, its libraries do not load, or it is for another NumPy
        from .. import install  # which imports much that only messages need

        raise DeviceError(
            f"OpenVINO cannot be used ({first_line(error)}). Install it with: {install.command('openvino')}, or use device 'cpu'"
        ) from None


def _expect(core: Any, device: str) -> None:
    lacking = _lacks(core, device)
    if lacking:
        raise DeviceError(f"device {device!r} was asked for, but {lacking}. Use one of {', '.join(available())}")


def _lacks(core: Any, device: str) -> str | None:
    place, hint, _ = VARIANTS[device]
    if place != "CPU":  # which every OpenVINO has; asking for all loads every plugin
        found = [name.split(".")[0] for name in core.available_devices]
        if place not in found:
            return f"OpenVINO finds no {place} here, only {', '.join(found) or 'nothing'}"
    if hint == "bf16" and "BF16" not in core.get_property(place, "OPTIMIZATION_CAPABILITIES"):
        return "this processor has no bfloat16 arithmetic"
    return None


def _tensors(model: Any) -> list[Tensor]:
    both = [*model.inputs, *model.outputs]
    return [(t.get_any_name(), t.get_element_type().to_dtype().name, [int(n) for n in t.shape]) for t in both]
