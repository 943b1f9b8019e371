"""TensorRT's errors in words: what it means, and the way out. Its functions return None; the reason is in its log."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ...runtime import install
from ...runtime.artifacts.tensorrt_binding import Binding
from ...runtime.errors import BuildError, DeviceError, FastSCNNError
from .capabilities import Capabilities

_MEMORY = "the device ran out of memory. Lower the workspace (--workspace 256MiB), close other programs, or export at a lower resolution"
_DRIVER = "no working CUDA driver or GPU. Look at `nvidia-smi`; in a container, start it with the NVIDIA runtime"
# Checked in order; the first that matches any message decides.
_CAUSES: tuple[tuple[str, type[FastSCNNError], str], ...] = (
    (r"FP32 GEMM is not supported", DeviceError, "sm75 (Turing) has only FP16 matrix products. Build with --precision fp16"),
    (r"driver version is insufficient|older than the runtime|CUDA driver.*(too old|insufficient)", DeviceError, f"{_DRIVER}; update the driver if there is one"),
    (r"no CUDA-capable device|CUDA initialization failure|cudaError(NoDevice|InsufficientDriver)|cudaError (35|100|999)\b", DeviceError, _DRIVER),
    (r"out of memory|OutOfMemory|insufficient memory|bad_alloc|cudaErrorMemoryAllocation|FAILED_ALLOCATION", BuildError, _MEMORY),
    (r"[Cc]ould not find any implementation", BuildError, f"no tactic fits, and most often {_MEMORY[0].lower()}{_MEMORY[1:]}; if that does not help, --opt-level 3 or higher tries more tactics"),
    (r"[Uu]nsupported SM|compute capability.*not supported|SM.*is not supported", DeviceError, "this TensorRT does not know the GPU. Install the version made for it"),
    (r"libnvinfer_builder_resource|nvinfer_builder_resource", DeviceError, "TensorRT's builder library is not installed. Install the full package, not the runtime alone (libnvinfer-dev, or pip's tensorrt)"),
    (r"DLA", BuildError, "the DLA does not take this network. Build without --dla"),
)  # fmt: skip


def failure(during: str, messages: Sequence[str], binding: Binding) -> FastSCNNError:
    """The exception for a step that gave nothing, from what TensorRT logged meanwhile."""
    for pattern, kind, meaning in _CAUSES:
        for message in messages:
            if re.search(pattern, message):
                return kind(f"{binding.name} failed while {during}: {meaning}. It said: {_short(message)}")
    if not messages:
        return BuildError(
            f"{binding.name} failed while {during} and logged no reason. Run again with --debug, and with a smaller --workspace"
        )
    return BuildError(
        f"{binding.name} failed while {during}: {'; '.join(map(_short, messages[:3]))}. --debug shows its whole log"
    )


def no_builder(binding: Binding, messages: Sequence[str], reason: str) -> DeviceError:
    """The classic builder does not start without a GPU; tells where to build and what to run there."""
    said = _short(messages[0]) if messages else reason
    return DeviceError(elsewhere(binding.name, said))


def elsewhere(name: str, reason: str) -> str:
    """Where to build instead, and what to run there."""
    return (
        f"{name} builds on the device that the engine is for, and it does not start here ({reason}). Copy the ONNX file to "
        "the robot and run there: fastscnn-trt build MODEL.onnx. For RTX cards an engine can be built on any machine: "
        f"{install.command('rtx')} and build with --flavour rtx --target sm86,sm89"
    )


def unparsed(parser: Any, nodes: Sequence[tuple[str, str]], binding: Binding, can: Capabilities) -> FastSCNNError:
    """What the ONNX parser refused: which node, of which module, and why."""
    sentences = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        code, number, said = str(error.code()).rpartition(".")[2], error.node(), _short(error.desc())
        name, operator = nodes[number] if 0 <= number < len(nodes) else ("", "")
        if can.parser_names_nodes and error.node_name():
            name, operator = error.node_name(), error.node_operator()
        if not name:
            sentences.append(f"{said} ({code})")
            continue
        module = name.rpartition(".")[0]
        where = f" in the module {module}" if module else ""
        verb = "does not know the operator" if code in ("UNSUPPORTED_NODE", "INVALID_NODE") else "refuses the operator"
        sentences.append(f"it {verb} {operator} of node {name!r}{where} ({code}: {said})")
    return DeviceError(
        f"{binding.name} cannot read the graph: {'; '.join(sentences) or 'no reason given'}. "
        "Export the model again with fastscnn-export and its default opset, or use a newer TensorRT"
    )


def _short(message: str) -> str:
    text = " ".join(message.split())
    return text if len(text) <= 300 else text[:297] + "..."
