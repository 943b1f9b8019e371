"""The classic flavour, version by version, on stand-ins that have the recorded names and no others."""

import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fastscnn.export.quantisation import Quantised
from fastscnn.export.tensorrt import BuildOptions, build, cache, decode_kernels
from fastscnn.export.tensorrt.engine import expect_distinct, files
from fastscnn.export.tensorrt.progress import Progress
from fastscnn.runtime import ArtifactError, DeviceError, OutputError, ParityError, UsageError
from fastscnn.runtime.artifacts import engine_file
from fastscnn.runtime.artifacts.engine_file import Kernels
from fastscnn.runtime.artifacts.tensorrt_binding import Binding
from fastscnn.runtime.decode.kernels import digest
from fastscnn.runtime.errors import BuildError

CLASSIC = ("8.6.0", "10.3.0", "10.13.3.9", "10.16.1.11", "11.4.0.106")

Board = Callable[..., Any]
Exported = Callable[..., Path]
SOME = "feature_fusion.high.conv"


@pytest.mark.parametrize("version", CLASSIC)
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_builds_what_was_asked_and_reads_it_back(
    board: Board, exported: Exported, tmp_path: Path, version: str, precision: str
) -> None:
    does = board(version)
    built = build(exported(), tmp_path / "e.plan", BuildOptions(precision=precision))
    number = tuple(map(int, version.split(".")))
    strong = number >= (9, 3)
    assert ("STRONGLY_TYPED" in does.network_flags) == strong
    assert ("EXPLICIT_BATCH" in does.network_flags) == (number < (11,))
    assert ("FP16" in does.builder_flags) == (precision == "fp16" and not strong)
    assert ("TF32" in does.builder_flags) == (precision == "fp16"), "TF32 is not FP32"
    if number < (11,):
        sources = type(sys.modules["tensorrt"].TacticSource.CUDNN)
        used = {source.name for source in sources if does.config.get_tactic_sources() >> int(source) & 1}
        assert used == {"EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"}
    assert does.config.profiling_verbosity.name == "DETAILED"
    assert does.pools == {"WORKSPACE": 1 << 30}
    assert hasattr(does.config, "progress_monitor") == (number >= (10, 3)), "else Ctrl-C would not end the build"
    description = built.description
    assert (description.precision, description.precision_from) == (precision, "inspector")
    assert (description.flavour, description.version, description.targets) == ("tensorrt", version, ("sm87",))
    assert (description.device, description.memory) == ("Orin", 5_000_000 if number < (10,) else 6_000_000)
    element = "float16" if precision == "fp16" else "float32"
    assert [(t.name, t.dtype, t.shape) for t in description.tensors] == [
        ("image", "uint8", (1, 128, 256, 3)),
        ("logits", element, (1, 19, 16, 32)),
    ]
    assert sum(len(layer.convolutions) for layer in description.layers) == 45
    assert engine_file.read(tmp_path / "e.plan")[1] == description


@pytest.mark.parametrize("version", ["8.6.0", "10.3.0", "11.4.0.106"])
def test_int8_files(board: Board, int8: Quantised, tmp_path: Path, version: str) -> None:
    """Weakly typed, the builder must be let; strongly typed, the graph decides. Either way the engine is asked."""
    does = board(version)
    description = build(int8.path, tmp_path / "e.plan").description
    assert {"INT8", "FP16"} & does.builder_flags == ({"INT8", "FP16"} if version == "8.6.0" else set())
    assert (description.precision, description.precision_from) == ("int8", "inspector")
    assert description.artifact.precision == "fp16", "of the logits"
    board(version, ignores_quantisers=True)
    with pytest.raises(ParityError, match="no convolution of the engine runs in INT8; nothing was written"):
        build(int8.path, tmp_path / "f.plan")
    assert not (tmp_path / "f.plan").exists()


@pytest.mark.parametrize("version", CLASSIC)
def test_a_convolution_left_in_fp32_fails_by_name(
    board: Board, exported: Exported, tmp_path: Path, version: str
) -> None:
    board(version, stubborn=(SOME,))
    with pytest.raises(ParityError, match=rf"{SOME} runs in FP32; nothing was written.*--allow-fp32-layers") as caught:
        build(exported(), tmp_path / "e.plan")
    assert caught.value.exit_code == 3
    assert list(tmp_path.iterdir()) == []
    built = build(exported(), tmp_path / "e.plan", BuildOptions(allow_fp32_layers=True))
    assert built.description.precision == "mixed"
    (layer,) = [layer for layer in built.description.layers if SOME in layer.convolutions]
    assert layer.precision == "fp32"


def test_a_convolution_that_tells_nothing_is_fp32_only_where_nothing_else_is_allowed(
    board: Board, exported: Exported, tmp_path: Path
) -> None:
    board("8.6.0", opaque=(SOME,))
    with pytest.raises(ParityError, match=f"{SOME} has a precision that TensorRT does not tell"):
        build(exported(), tmp_path / "e.plan")
    board("8.6.0", opaque=(SOME,))
    assert build(exported(), tmp_path / "e.plan", BuildOptions(precision="fp32")).description.precision == "fp32"


@pytest.mark.parametrize(
    ("complaint", "kind", "advice"),
    [
        ("[virtualMemoryBuffer.cpp] OutOfMemory (Requested size was 99)", BuildError, "--workspace 256MiB"),
        ("Could not find any implementation for node {ForeignNode[a]}", BuildError, "Lower the workspace"),
        ("CUDA initialization failure with error: 35", DeviceError, "no working CUDA driver"),
        ("Unable to load library: libnvinfer_builder_resource.so.10", DeviceError, "Install the full package"),
        ("Unsupported SM: 0x59", DeviceError, "does not know the GPU"),
        ("something new", BuildError, "something new. --debug shows"),
    ],
)
def test_failures_come_with_a_way_out(
    board: Board, exported: Exported, tmp_path: Path, complaint: str, kind: type[Exception], advice: str
) -> None:
    board("10.3.0", complaint=complaint)
    with pytest.raises(kind, match=advice) as caught:
        build(exported(), tmp_path / "e.plan")
    assert "failed while building the engine" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("version", CLASSIC)
def test_the_parser_names_node_operator_and_module(
    board: Board, exported: Exported, tmp_path: Path, version: str
) -> None:
    """8.6 tells only the node's number; the name is looked up in the graph."""
    board(version, unsupported=3)
    node = "learning_to_downsample.conv.conv" if version == "8.6.0" else "feature_fusion.high.conv"
    with pytest.raises(DeviceError, match=f"operator Conv of node '{node}' in the module {node[:-5]}"):
        build(exported(), tmp_path / "e.plan")


@pytest.mark.parametrize("version", CLASSIC)
def test_without_a_gpu_the_message_says_where_to_build(
    board: Board, exported: Exported, tmp_path: Path, version: str
) -> None:
    board(version, gpu=False)
    with pytest.raises(DeviceError, match="builds on the device") as caught:
        build(exported(), tmp_path / "e.plan")
    assert "run there: fastscnn-trt build" in str(caught.value)
    assert "--flavour rtx" in str(caught.value)


def test_no_driver_is_found_before_tensorrt_starts(
    board: Board, exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board("10.3.0")

    def none() -> list[Any]:
        raise DeviceError("no CUDA driver")

    monkeypatch.setattr("fastscnn.export.tensorrt.engine.gpus", none)
    with pytest.raises(DeviceError, match=r"does not start here \(no CUDA driver\)"):
        build(exported(), tmp_path / "e.plan")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(DeviceError, match=r"TensorRT cannot be imported.*run there: fastscnn-trt build"):
        build(exported(), tmp_path / "e.plan", BuildOptions(flavour="tensorrt"))


def test_timing_cache_is_kept_and_a_foreign_one_replaced(
    board: Board, exported: Exported, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = tmp_path / "timing"
    options = BuildOptions(timing_cache=kept)
    board("8.6.0")
    build(exported(), tmp_path / "e.plan", options)
    assert kept.read_bytes() == b"timed "
    build(exported(), tmp_path / "e.plan", options, force=True)
    assert kept.read_bytes() == b"timed timed "
    board("8.6.0", stubborn=(SOME,))
    with pytest.raises(ParityError):
        build(exported(), tmp_path / "e.plan", options, force=True)
    assert kept.read_bytes() == b"timed timed timed ", "what a refused build timed serves the next"
    assert not caplog.records or "another device" not in caplog.text
    does = board("8.6.0", foreign_timing_cache=True)
    build(exported(), tmp_path / "e.plan", options, force=True)
    assert not does.ignored_mismatch, "timings of another device would be believed"
    assert "of another device or TensorRT version" in caplog.text
    assert kept.read_bytes() == b"timed "


@pytest.mark.parametrize("version", CLASSIC)
def test_dla(board: Board, exported: Exported, tmp_path: Path, version: str) -> None:
    board(version)
    with pytest.raises(DeviceError, match=r"DLA core 1 was asked for .* finds 0"):
        build(exported(), tmp_path / "e.plan", BuildOptions(dla=1))
    does = board(version, dla_cores=2)
    built = build(exported(), tmp_path / "e.plan", BuildOptions(dla=1))
    assert (does.config.DLA_core, does.config.default_device_type.name) == (1, "DLA")
    assert "GPU_FALLBACK" in does.builder_flags
    assert ("FP16" in does.builder_flags) == (not version.startswith("11"))
    assert ("STRONGLY_TYPED" in does.network_flags) == version.startswith("11")
    assert (built.description.dla, does.opened_on) == (1, 1)


@pytest.mark.parametrize("version", CLASSIC)
def test_version_compatible_plans_may_run_their_own_code(
    board: Board, exported: Exported, tmp_path: Path, version: str
) -> None:
    does = board(version)
    built = build(exported(), tmp_path / "e.plan", BuildOptions(version_compatible=True, opt_level=2))
    assert "VERSION_COMPATIBLE" in does.builder_flags
    assert does.config.builder_optimization_level == 2
    assert does.host_code_allowed
    assert built.description.version_compatible


def test_tensorrts_log_goes_through_logging(
    board: Board, exported: Exported, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from fastscnn.runtime.backends.tensorrt.log import gathered, logger

    board("10.3.0")
    module = sys.modules["tensorrt"]
    with caplog.at_level(logging.DEBUG, "fastscnn.tensorrt"), gathered() as said:
        logger(module).log(module.ILogger.Severity.WARNING, "lossy")
        logger(module).log(module.ILogger.Severity.ERROR, "broken")
    assert said.errors == ["broken"]
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("WARNING", "TensorRT: lossy"),
        ("DEBUG", "TensorRT: broken"),
        ("WARNING", "TensorRT: broken"),
    ], "an error that no exception follows is told after all"
    caplog.clear()
    with caplog.at_level(logging.INFO, "fastscnn.tensorrt"), pytest.raises(ZeroDivisionError), gathered():
        logger(module).log(module.ILogger.Severity.ERROR, "broken")
        raise ZeroDivisionError
    assert not caplog.records, "the exception tells it"


def test_an_error_of_a_build_that_succeeds_is_told(
    board: Board, exported: Exported, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    board("10.3.0", said="a tactic was skipped")
    build(exported(), tmp_path / "e.plan")
    assert ("WARNING", "TensorRT: a tactic was skipped") in [(r.levelname, r.getMessage()) for r in caplog.records]


@pytest.mark.parametrize(
    ("output", "timing_cache", "purposes"),
    [
        ("m.onnx", None, "both the model and the engine"),
        ("link", None, "both the model and the engine"),
        ("m", "m.json", "both its description and the timing cache"),
        ("e.plan", "m.onnx", "both the model and the timing cache"),
        ("e.plan", "e.plan", "both the engine and the timing cache"),
    ],
)
def test_one_file_cannot_serve_two_purposes(
    board: Board, exported: Exported, tmp_path: Path, output: str, timing_cache: str | None, purposes: str
) -> None:
    does = board("10.3.0")
    model = tmp_path / "m.onnx"
    model.write_bytes(exported().read_bytes())
    (tmp_path / "link").symlink_to(model)
    options = BuildOptions(timing_cache=tmp_path / timing_cache if timing_cache else None)
    with pytest.raises(UsageError, match=purposes):
        build(model, tmp_path / output, options)
    assert model.read_bytes() == exported().read_bytes()
    assert does.config is None, "nothing was built"
    with pytest.raises(UsageError, match="the report"):
        expect_distinct({**files(model, tmp_path / "e.plan", None), "the report": tmp_path / "e.plan.json"})


def test_a_place_for_the_description_is_made_sure_of(board: Board, exported: Exported, tmp_path: Path) -> None:
    does = board("10.3.0")
    (tmp_path / "e.plan.json").mkdir()
    with pytest.raises(OutputError, match=r"e\.plan\.json cannot be written: it is a folder"):
        build(exported(), tmp_path / "e.plan")
    assert does.config is None and not (tmp_path / "e.plan").exists()


def test_good_kernels_are_never_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only some are missing or the compiler is, the rest stay as they are."""
    asked = []

    def compile_one(target: str) -> bytes:
        asked.append(target)
        if target == "sm89":
            raise DeviceError("too old")
        return b"new"

    monkeypatch.setattr(decode_kernels, "_binary", compile_one)
    held = Kernels(digest(), {"sm80": b"held"})
    assert decode_kernels.compiled(["sm80", "sm86", "sm89"], held) == Kernels(
        digest(), {"sm80": b"held", "sm86": b"new"}
    )
    assert asked == ["sm86", "sm89"]
    older = Kernels("0" * 64, {"sm86": b"old", "sm89": b"old"})
    assert decode_kernels.compiled(["sm86", "sm89"], older) == older, "one new for two old"
    assert decode_kernels.compiled(["sm80", "sm86"], older) == Kernels(digest(), {"sm80": b"new", "sm86": b"new"})


def test_everything_that_shapes_an_engine_is_in_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    binding = Binding("tensorrt", "10.3.0", None)
    same = {"source": b"m", "binding": binding, "options": BuildOptions(), "targets": ("sm87",), "device": "Orin"}
    same["converter"] = "onnxruntime 1.20"
    others: dict[str, Any] = {"source": b"n", "binding": Binding("tensorrt", "10.3.1", None), "targets": ("sm89",)}
    others |= {"options": BuildOptions(dla=0), "device": "AGX Orin", "converter": "onnxruntime 1.21"}
    keys = [cache.key(**same), *(cache.key(**{**same, name: value}) for name, value in others.items())]  # type: ignore[arg-type]
    keys.append(cache.key(**{**same, "binding": Binding("rtx", "10.3.0", None)}))  # type: ignore[arg-type]
    for name in ("system", "__version__"):
        with monkeypatch.context() as changed:
            changed.setattr(cache, name, (lambda: "Linux sparc") if name == "system" else "0")
            keys.append(cache.key(**same))  # type: ignore[arg-type]
    assert len(set(keys)) == len(keys) == 10
    assert cache.key(**{**same, "options": BuildOptions(timing_cache=Path("t"), targets=("sm86",))}) == keys[0]  # type: ignore[arg-type]


def test_an_interrupted_build_keeps_the_next_one_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT may work on for a while; two builds at once would spoil each other's timings."""
    from fastscnn.export.tensorrt import engine

    monkeypatch.setattr(engine, "_GRACE", 0.01)
    monkeypatch.setattr(engine, "_abandoned", threading.Event())
    monkeypatch.setattr(engine.onnx_file, "nodes", lambda graph: [])
    began, end = threading.Event(), threading.Event()

    class Waits(Progress):
        def wait(self, worker: threading.Thread) -> None:
            assert began.wait(10)
            raise KeyboardInterrupt

    class Job:
        options, progress = BuildOptions(), Waits()

        def run(self, graph: bytes, nodes: object) -> None:
            began.set()
            end.wait(10)

    job, artifact = Job(), SimpleNamespace(head="logits")
    with pytest.raises(KeyboardInterrupt):
        engine._run(job, b"", artifact, "m", False)  # type: ignore[arg-type]
    assert engine._building.locked()
    end.set()
    assert engine._building.acquire(timeout=10)
    engine._building.release()


def test_an_engine_fits_one_version_and_one_gpu(board: Board, exported: Exported, tmp_path: Path) -> None:
    from fastscnn.export.tensorrt.report import inspect

    board("10.3.0")
    path = build(exported(), tmp_path / "e.plan").path
    assert inspect(path)[1] == []
    board("10.13.3.9")
    (reason,) = inspect(path)[1]
    assert "built with TensorRT 10.3.0 and 10.13.3.9 is installed" in reason
    board("10.3.0")
    path = build(exported(), tmp_path / "v.plan", BuildOptions(version_compatible=True)).path
    board("10.13.3.9")
    assert inspect(path)[1] == []
    board("11.4.0.106")
    assert "same major version" in inspect(path)[1][0]


def test_another_version_is_another_engine(board: Board, exported: Exported, tmp_path: Path) -> None:
    path = tmp_path / "e.plan"
    board("10.3.0")
    assert not build(exported(), path).reused
    assert build(exported(), path).reused
    assert not build(exported(), path, BuildOptions(workspace=1 << 28)).reused
    board("10.13.3.9")
    assert not build(exported(), path, BuildOptions(workspace=1 << 28)).reused
    assert not build(exported("prob"), path, BuildOptions(workspace=1 << 28)).reused
    path.write_bytes(path.read_bytes()[:-1])
    assert not build(exported("prob"), path, BuildOptions(workspace=1 << 28)).reused, "a damaged engine is no engine"


def test_an_fp16_graph_does_not_make_an_fp32_engine(board: Board, exported: Exported, tmp_path: Path) -> None:
    board("8.6.0")
    with pytest.raises(UsageError, match="is an FP16 graph"):
        build(exported(precision="fp16"), tmp_path / "e.plan", BuildOptions(precision="fp32"))
    with pytest.raises(ArtifactError, match="does not exist"):
        build(tmp_path / "absent.onnx")


def test_a_board_needs_no_torch_and_jetpack_5_no_onnx(tmp_path: Path) -> None:
    code = (
        "import sys, fastscnn.export.tensorrt.cli\n"
        "print([m for m in ('torch', 'onnx', 'onnxruntime', 'tensorrt', 'tensorrt_rtx', 'pycuda') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "[]\n"
