"""TensorRT for RTX, for real: it parses and builds on a machine without a GPU."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorrt_rtx

from fastscnn.export.tensorrt import BuildOptions, build, decode_kernels
from fastscnn.runtime import DeviceError
from fastscnn.runtime.artifacts import engine_file, onnx_file, onnx_operators
from fastscnn.runtime.artifacts.engine_file import Kernels
from fastscnn.runtime.artifacts.gpu import first
from fastscnn.runtime.decode.kernels import digest

Exported = Callable[..., Path]
Command = Callable[..., subprocess.CompletedProcess[str]]
AMPERE_UP = ("sm80", "sm86", "sm89", "sm120")
OUTPUT = {"cls": ("labels", "uint8", ()), "prob": ("probabilities", "float32", (19,)), "logits": ("logits", "float16", (19,))}  # fmt: skip


def tensors(path: Path) -> list[tuple[str, bool, str, tuple[int, ...]]]:
    _, description = engine_file.read(path)
    return [(t.name, t.output, t.dtype, t.shape) for t in description.tensors]


@pytest.mark.parametrize("kind", ["uint8", "float"])
@pytest.mark.parametrize(("resolution", "precision"), [((64, 96), "fp16"), ((136, 200), "fp32")])
@pytest.mark.parametrize("head", OUTPUT)
def test_inputs_outputs_and_size(
    exported: Exported, tmp_path: Path, head: str, resolution: tuple[int, int], precision: str, kind: str
) -> None:
    """FP16 engines, from FP16 files as they are and from FP32 files by conversion."""
    height, width = resolution
    model = exported(head, resolution, precision=precision, input=kind)
    options = BuildOptions(flavour="rtx", targets=AMPERE_UP, head_in_engine=True)
    built = build(model, tmp_path / "e.plan", options)
    image = ("uint8", (1, height, width, 3)) if kind == "uint8" else ("float32", (1, 3, height, width))
    name, dtype, classes = OUTPUT[head]
    size = (-(-height // 8), -(-width // 8)) if head == "logits" else resolution
    assert tensors(built.path) == [("image", False, *image), (name, True, dtype, (1, *classes, *size))]
    description = built.description
    assert description.targets == AMPERE_UP
    assert (description.precision, description.artifact.precision) == ("fp16", "fp16")
    assert description.precision_from == ("types" if first() is None else "inspector")
    assert sum(len(layer.convolutions) for layer in description.layers) == 45
    assert 2e6 < description.size == built.path.stat().st_size < 8e6, "1.1 million parameters in FP16, and kernels"
    assert description.head_inside == (head != "logits")
    assert (description.kernels is None) == (head != "logits")


def test_full_resolution_ends_at_the_logits(exported: Exported, tmp_path: Path) -> None:
    model = exported("cls", (1024, 2048))
    built = build(model, tmp_path / "e.plan", BuildOptions(flavour="rtx", targets=AMPERE_UP))
    assert tensors(built.path)[1] == ("logits", True, "float16", (1, 19, 128, 256))
    assert built.description.artifact.head == "cls"
    assert 8e6 < built.description.size < 10e6
    kernels = built.description.kernels
    assert kernels is not None and kernels.digest == digest()
    assert set(kernels.binaries) == set(AMPERE_UP)
    assert all(binary[:4] == b"\x7fELF" for binary in kernels.binaries.values())


def test_kernels_are_compiled_for_what_an_older_build_lacks(exported: Exported, tmp_path: Path) -> None:
    """An engine whose kernels come from another source keeps its plan and gets new ones."""
    options = BuildOptions(flavour="rtx", targets=("sm120", "sm121"))
    model = exported("logits", (64, 96), precision="fp16", input="uint8")
    built = build(model, tmp_path / "e.plan", options)
    kernels = built.description.kernels
    assert kernels is not None and kernels.binaries["sm121"] == kernels.binaries["sm120"], "one major capability"
    old = dataclasses.replace(built.description, kernels=Kernels("0" * 64, {"sm120": b"old"}))
    engine_file.write(built.path, built.path.read_bytes(), old)
    again = build(model, tmp_path / "e.plan", options)
    assert again.reused
    assert again.description == built.description == engine_file.read(built.path)[1]


def test_without_a_compiler_it_says_so(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(targets: list[str]) -> dict[str, bytes]:
        raise DeviceError("neither nvcc nor NVRTC")

    monkeypatch.setattr(decode_kernels, "_binary", lambda target: none([target])[target])
    model = exported("logits", (64, 96), precision="fp16", input="uint8")
    built = build(model, tmp_path / "e.plan", BuildOptions(flavour="rtx", targets=("sm86",)))
    assert built.description.kernels is None
    assert "no decode kernels for sm86: neither nvcc nor NVRTC" in caplog.text


def test_each_target_alone_and_turing_is_larger(exported: Exported, tmp_path: Path) -> None:
    """At 1024x2048 the plan for sm75 has 669 MB; that for the others 9 MB."""
    model = exported("logits", (136, 200), precision="fp32", input="uint8")
    sizes = {}
    for target in ("sm75", *AMPERE_UP):
        built = build(model, tmp_path / target, BuildOptions(flavour="rtx", targets=(target,)))
        assert built.description.targets == (target,)
        sizes[target] = built.description.size
    assert sizes["sm75"] > 1.5 * sizes["sm86"]


def test_fp32_is_built_where_it_is_asked_for(exported: Exported, tmp_path: Path) -> None:
    options = BuildOptions(precision="fp32", flavour="rtx", targets=("sm86",))
    built = build(exported("cls", (64, 96)), tmp_path / "e.plan", options)
    assert built.description.precision == "fp32"
    assert tensors(built.path)[1][2] == "float32"


def test_an_unknown_operator_is_named_with_its_module(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    monkeypatch.setitem(onnx_operators.OPERATORS, "Unique", onnx_operators.OPERATORS["Relu"])  # as if exports had it
    model = onnx.load(exported("logits", (64, 96), precision="fp16", input="uint8"))
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Unique"
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(
        DeviceError, match=r"operator Unique of node 'learning_to_downsample\.conv\.relu' in the module"
    ) as e:
        build(tmp_path / "m.onnx", options=BuildOptions(flavour="rtx", targets=("sm86",)))
    assert e.value.exit_code == 4
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_command_builds_reuses_and_inspects(command: Command, exported: Exported, tmp_path: Path) -> None:
    arguments = ["fastscnn-trt", "build", exported("cls", (64, 96)), "-o", "e.plan", "--target", "sm86,sm89", "--flavour", "rtx"]  # fmt: skip
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "e.plan\n"
    for phase in ("converting the graph to FP16", "starting TensorRT", "reading the graph", "building the engine"):
        assert phase in done.stderr
    assert "is there already" not in done.stderr
    written = (tmp_path / "e.plan").stat().st_mtime_ns
    done = command(*arguments, "--json", "-")
    assert "is there already" in done.stderr
    report = json.loads(done.stdout)
    assert report["reused"] and (tmp_path / "e.plan").stat().st_mtime_ns == written
    assert report["engine"]["targets"] == ["sm86", "sm89"]
    assert "building the engine" in command(*arguments, "--force").stderr

    done = command("fastscnn-trt", "inspect", "e.plan", "--layers")
    assert done.returncode == 0, done.stderr
    assert "cls height=64 width=96 batch=1, 19 classes (cityscapes)" in done.stdout
    assert "convolutions: 45 fp16" in done.stdout
    assert "fp16  CONVOLUTION" in done.stdout
    report = json.loads(command("fastscnn-trt", "inspect", "e.plan", "--json", "-").stdout)
    assert report["fits"] == (not report["misfits"])
    if first() is None:
        assert "this machine has none" in report["misfits"][0]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--target", "sm87"], 4, "does not build for sm87: Orin has the classic TensorRT of JetPack"),
        (["--target", "86"], 2, "'86' is no compute capability"),
        (["--workspace", "1GB"], 2, "'1GB' is not a size"),
        (["-o", "no/such/e.plan"], 1, "no/such is not a folder"),
    ],
)
def test_wrong_usage_is_one_clear_sentence(
    command: Command, exported: Exported, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    done = command("fastscnn-trt", "build", exported("cls", (64, 96)), "-o", "e.plan", "--flavour", "rtx", *arguments)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_build_leaves_nothing(
    exported: Exported, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    """For sm75, which takes seconds at this resolution, and interrupted within the first."""
    model = exported("cls", (1024, 2048))
    program = Path(sys.executable).with_name("fastscnn-trt")
    arguments = [program, "build", model, "-o", tmp_path / "e.plan", "--target", "sm75", "--flavour", "rtx"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if line.startswith("building the engine"):
                break
        time.sleep(0.2)
        running.send_signal(sent)
        said = running.stderr.read()
        assert running.wait(timeout=30) == code, said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_two_builds_into_one_path_leave_one_whole_pair(exported: Exported, tmp_path: Path) -> None:
    """Two processes again and again, and a reader who must never see a mixture."""
    program = Path(sys.executable).with_name("fastscnn-trt")
    path = tmp_path / "e.plan"
    code = (
        "import sys\n"
        "from fastscnn.export.tensorrt import BuildOptions, build\n"
        "options = BuildOptions(flavour='rtx', targets=(sys.argv[3],), head_in_engine=True)\n"
        "for _ in range(2): build(sys.argv[1], sys.argv[2], options, force=True)"
    )
    models = (exported(head, (64, 96), precision="fp16", input="uint8") for head in ("cls", "prob"))
    running = [
        subprocess.Popen(
            [program.with_name(Path(sys.executable).name), "-c", code, model, path, "sm86"], env=os.environ
        )
        for model in models
    ]
    seen = set()
    while any(process.poll() is None for process in running):
        if path.exists() and engine_file.description_path(path).exists():
            plan, description = engine_file.read(path)
            assert engine_file.digest(plan) == description.sha256
            seen.add(description.artifact.head)
    assert [process.wait() for process in running] == [0, 0]
    plan, description = engine_file.read(path)
    assert tensors(path)[1][0] == OUTPUT[description.artifact.head][0]
    assert seen and seen <= {"cls", "prob"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e.plan", "e.plan.json"]


def test_the_plan_is_tensorrts_bytes_as_they_are(exported: Exported, tmp_path: Path) -> None:
    """Nothing before or behind them, so that `trtexec --loadEngine` takes the file."""
    path = build(exported("cls", (64, 96)), tmp_path / "e.plan", BuildOptions(flavour="rtx", targets=("sm86",))).path
    runtime = tensorrt_rtx.Runtime(tensorrt_rtx.Logger(tensorrt_rtx.Logger.INTERNAL_ERROR))
    header = path.read_bytes()[: runtime.engine_header_size]
    validity, diagnostics = runtime.get_engine_validity(header)
    assert validity is not None
    assert header[:4] != b'{\n "'
    assert onnx_file.nodes(onnx_file.read(exported("cls", (64, 96))))[0] == ("input.cast", "Cast")
    del validity, diagnostics
