"""ONNX Runtime on the CPU, or on CUDA where its GPU package is installed."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..artifacts import onnx_file
from ..artifacts.onnx_unsigned import unsigned
from ..errors import ArtifactError, DeviceError
from ..text import first_line
from .cores import usable_cores
from .logits import LogitsBackend, Tensor, check_graph

log = logging.getLogger(__name__)

# How threads wait and share their work; `python -m fastscnn.benchmarks.neighbours` times others.
THREADING: dict[str, str] = {
    # Threads wait actively within a run, as sleeping between its short steps costs up to 15%, but not for long, as somebody else
    # may have the core that they wait for: beside two busy programs frames take 0.6 times as long as with waiting without end.
    # After a run they do not, where decode and robot want the cores.
    "session.intra_op.spin_duration_us": "20",
    "session.force_spinning_stop": "1",
    # Small shares of work, handed out as threads come free: a core that something else uses does not hold up the rest.
    "session.dynamic_block_base": "4",
}


class OnnxRuntimeBackend(LogitsBackend):
    """Runs the graph up to the low-resolution logits and decodes them exactly on the CPU.

    Args:
        threads: for the network and the decode; None takes as many as this process may use.

    Raises:
        ArtifactError: the file is missing, damaged, not this project's, or ONNX Runtime refuses its graph.
        DeviceError: ONNX Runtime or its CUDA provider is not there.
    """

    def __init__(self, path: str | Path, device: str = "auto", threads: int | None = None) -> None:
        model = onnx_file.read(path)
        artifact = onnx_file.artifact(model, str(path))
        threads = threads or usable_cores()
        network = model if artifact.head == "logits" else onnx_file.without_head(model, str(path))
        if artifact.precision == "int8":
            network = unsigned(network)
        self._session = open_session(network, str(path), device, threads)
        check_graph(tensors(self._session), onnx_file.outputs(model), artifact, str(path))
        super().__init__(artifact, threads, alone=device_is_cpu(self._session))
        self.device = describe(self._session, threads)
        self.precision = artifact.precision

    def forward(self, image: NDArray[Any], turn: AbstractContextManager[Any]) -> NDArray[Any]:
        logits = self.rooms.array()
        binding = self._session.io_binding()
        binding.bind_cpu_input("image", image)
        binding.bind_output(onnx_file.LOGITS, "cpu", 0, logits.dtype.type, logits.shape, logits.ctypes.data)
        with turn:
            self._session.run_with_iobinding(binding)
        return logits

    def close(self) -> None:
        self._session = None
        super().close()


def tensors(session: Any) -> list[Tensor]:
    """What a session takes and gives, for `check_graph`."""
    types = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(float16)": "float16"}
    both = [*session.get_inputs(), *session.get_outputs()]
    return [(t.name, types.get(t.type, t.type), list(t.shape)) for t in both]


def open_session(model: bytes, source: str, device: str, threads: int) -> Any:
    """An `onnxruntime.InferenceSession`; `source` names the file in messages, `threads` counts the CPU's."""
    try:
        import onnxruntime
    except Exception as error:  # a broken package, or one for another NumPy, raises what it likes
        from .. import install  # which imports much that only messages need

        raise DeviceError(
            f"ONNX files run on ONNX Runtime, which cannot be imported ({first_line(error)}). Install it with: {install.command('cpu')}"
        ) from None
    available = onnxruntime.get_available_providers()
    providers: list[Any] = ["CPUExecutionProvider"]
    if device == "cuda" and "CUDAExecutionProvider" not in available:
        from .. import install

        raise DeviceError(
            "device 'cuda' was asked for, but this ONNX Runtime has only the CPU. "
            f"Install its GPU package with: pip uninstall onnxruntime && {install.command('gpu')}"
        )
    if device != "cpu" and "CUDAExecutionProvider" in available:
        providers.insert(0, ("CUDAExecutionProvider", {"use_tf32": "0"}))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    for name, value in THREADING.items():
        options.add_session_config_entry(name, value)
    if not _multiplies_bytes():
        # Without VNNI, sums of unsigned by signed products overflow; other kernels give the right ones, at half the speed.
        options.add_session_config_entry("session.x64quantprecision", "1")
    # A plan of all tensors would be a second block beside the arena's: 90 MB at 1024x2048, and no faster.
    options.enable_mem_pattern = False
    options.log_severity_level = 3  # errors; warnings about provider choice are said below, once and in words
    try:
        session = onnxruntime.InferenceSession(model, options, providers=providers)
    except Exception as error:  # ONNX Runtime's own exception types are private
        if newer := onnx_file.newer(model):
            package = "onnxruntime-gpu" if "CUDAExecutionProvider" in available else "onnxruntime"
            found = f"ONNX Runtime {onnxruntime.__version__} does not read {source}: another tool gave it {newer}"
            raise DeviceError(f"{found}. {_instead(model, package)}") from error
        raise ArtifactError(
            f"ONNX Runtime refuses {source}: {first_line(error)}. Export it again with fastscnn-export"
        ) from error
    if len(providers) > 1 and session.get_providers()[0] != "CUDAExecutionProvider":
        found = (
            "ONNX Runtime's CUDA provider is installed but does not start (driver, CUDA or cuDNN libraries missing?)"
        )
        if device == "cuda":
            raise DeviceError(f"{found}; expected a working GPU. Look at `nvidia-smi`, or use device 'cpu'")
        log.warning("%s; running on the CPU", found)
    return session


def _instead(model: bytes, package: str) -> str:
    """What helps where another tool has given a file a format that this ONNX Runtime does not know."""
    from .. import install
    from . import openvino

    other = "use device 'openvino', which reads it, or " if openvino.installed() and openvino.reads(model) else ""
    return f"Upgrade it with: {install.upgrade(package)}; or {other}give the file that fastscnn-export wrote"


def _multiplies_bytes() -> bool:
    """Whether this x86 processor has VNNI, which sums products of bytes in 32 bits; False where the system does not tell."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_vnni" in flags or "avx_vnni" in flags


def describe(session: Any, threads: int) -> str:
    if not device_is_cpu(session):
        return "ONNX Runtime CUDA"
    return f"ONNX Runtime CPU, {threads} thread{'s' if threads > 1 else ''}"


def device_is_cpu(session: Any) -> bool:
    return bool(session.get_providers()[0] == "CPUExecutionProvider")
