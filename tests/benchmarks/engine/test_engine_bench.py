"""What an engine's benchmark reckons with, and the command and the suite on a stand-in GPU with tiny sizes."""

import ctypes
import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from installing import StandInGpu

from fastscnn.benchmarks import bench, power, traffic
from fastscnn.benchmarks.engine import report as engine_report
from fastscnn.benchmarks.engine import timing as engine_timing
from fastscnn.benchmarks.gpu import cli as gpu
from fastscnn.benchmarks.gpu import goals as gpu_goals
from fastscnn.benchmarks.gpu import steps as gpu_steps
from fastscnn.benchmarks.protocol import Summary
from fastscnn.export import export
from fastscnn.export.tensorrt import BuildOptions
from fastscnn.model.network import FastSCNN
from fastscnn.runtime import Artifact, Segmenter
from fastscnn.runtime.artifacts import onnx_file
from fastscnn.runtime.artifacts.engine_file import EngineLayer
from fastscnn.runtime.artifacts.gpu import first
from fastscnn.runtime.errors import ParityError

Exported = Callable[..., Path]


def artifact_of(path: Path) -> Artifact:
    return onnx_file.artifact(onnx_file.read(path), path.name)


@pytest.mark.parametrize("size", [(1024, 2048), (360, 480), (97, 131)])
def test_traffic_is_the_networks_own(size: tuple[int, int]) -> None:
    """Every convolution and pooling, by name, against what really goes in and comes out."""
    network, seen = FastSCNN(19).eval().to("meta"), {}

    def record(name: str) -> Callable[..., None]:
        def hook(module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            seen[name] = (inputs[0].numel(), output.numel())

        return hook

    for name, module in network.named_modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.AdaptiveAvgPool2d)):
            module.register_forward_hook(record(name))
    with torch.inference_mode():
        network(torch.empty(1, 3, *size, device="meta"))
    assert {layer.name: (layer.read, layer.written) for layer in traffic.layers(*size, 19)} == seen


def test_the_floor_at_the_papers_resolution(exported: Exported) -> None:
    import dataclasses

    paper = dataclasses.replace(artifact_of(exported("cls")), height=1024, width=2048)
    assert round(traffic.activation_bytes(paper, "fp16") / 1e6) == 457
    assert traffic.activation_bytes(paper, "fp32") == 2 * traffic.activation_bytes(paper, "fp16")
    for precision, expected in (("fp16", 0.1), ("mixed", 0.1), ("fp32", 0.2), ("int8", 0.05)):
        backend: Any = SimpleNamespace(artifact=paper, description=SimpleNamespace(precision=precision))
        assert engine_timing.floor(backend, 4.57e12)["milliseconds"] == pytest.approx(expected, rel=1e-2)


def test_layers_get_their_modules() -> None:
    layers = [
        EngineLayer("fused 1", "CaskConvolution", "fp16", ("a.conv", "b.conv")),
        EngineLayer("x", "Reformat", None, ()),
    ]
    rows = engine_report.named({"x": 1.0, "fused 1": 2.0, "unheard of": 0.5}, layers)
    assert [row["milliseconds"] for row in rows] == [2.0, 1.0, 0.5]
    assert [row["modules"] for row in rows] == [["a.conv", "b.conv"], [], []]


def rail(folder: Path, label: str, millivolts: int, milliamperes: int, number: int = 1) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text("ina3221\n")
    (folder / f"in{number}_label").write_text(label + "\n")
    (folder / f"in{number}_input").write_text(f"{millivolts}\n")
    (folder / f"curr{number}_input").write_text(f"{milliamperes}\n")


def test_a_boards_sensor_is_summed_over_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "_nvml_counter", lambda: None)
    assert power.Energy(tmp_path).source == ""
    rail(tmp_path / "hwmon3", "VDD_GPU_SOC", 5000, 1000)
    rail(tmp_path / "hwmon3", "VDD_CPU_CV", 5000, 500, number=2)
    assert power.Energy(tmp_path).watts() == pytest.approx(7.5)
    rail(tmp_path / "hwmon4", "VDD_IN", 19000, 1000)
    energy = power.Energy(tmp_path)
    assert energy.watts() == pytest.approx(19), "the whole board's rail holds the others"
    started = time.perf_counter()
    with energy.spent() as joules:
        time.sleep(0.3)
    assert joules[0] == pytest.approx(19 * (time.perf_counter() - started), rel=0.1)
    assert "VDD_IN" in energy.source
    (tmp_path / "hwmon4" / "curr1_input").unlink()
    with energy.spent() as joules:
        pass
    assert joules == [], "no energy rather than a part of it"


def test_the_rails_of_an_agx_orin_are_summed_and_a_thors_input_is_all(tmp_path: Path) -> None:
    for number, label in enumerate(("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"), 1):
        rail(tmp_path / "hwmon0", label, 1000, 1000, number)
    rail(tmp_path / "hwmon1", "VDDQ_VDD2_1V8AO", 1000, 1000)
    assert [name for name, _, _ in power.rails(tmp_path)] == ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"]
    rail(tmp_path / "hwmon2", "VIN", 1000, 1000)
    (tmp_path / "hwmon2" / "name").write_text("ina238\n")
    assert [name for name, _, _ in power.rails(tmp_path)] == ["VIN"]


def test_nvml_and_its_tool_are_asked_for_cudas_device(
    standin: StandInGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []
    nvml = SimpleNamespace(
        nvmlInit_v2=lambda: 0,
        nvmlDeviceGetHandleByPciBusId_v2=lambda bus, device: asked.append(bus) or 0,
        nvmlDeviceGetTotalEnergyConsumption=lambda device, energy: 0,
    )
    monkeypatch.setattr(ctypes, "CDLL", lambda name: nvml)
    assert "NVML" in power.Energy(tmp_path).source
    assert asked == [b"0000:65:00.0"]
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "nvidia-smi").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert "--id=0000:65:00.0" in power.state()["nvidia-smi"]


def test_nvml_counts_millijoules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    readings = iter([1000.0, 3500.0])
    monkeypatch.setattr(power, "_nvml_counter", lambda: lambda: next(readings))
    with power.Energy(tmp_path).spent() as joules:
        pass
    assert joules == [2.5]


def test_the_tools_that_are_here_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert power.state() == {}
    for name, text in (
        ("nvpmodel", "NV Power Mode: MAXN"),
        ("nvidia-smi", "1980 MHz, 2619 MHz"),
        ("jetson_clocks", ""),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{text}'\n" if text else "#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    assert power.state() == {"nvpmodel": "NV Power Mode: MAXN", "nvidia-smi": "clocks.sm 1980 MHz, clocks.mem 2619 MHz"}


def test_the_command_on_an_engine(
    standin: StandInGpu,
    exported: Exported,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(engine_timing, "_COPIED", 1 << 16)
    monkeypatch.setattr(engine_timing.copy_rate, "__defaults__", (1 << 16,))
    engine = standin.engine(exported("cls"))
    plain = standin.engine(exported("cls", input="float"), inside=True, name="plain.plan")
    words = [str(engine), "--burn-in", "1", "--frames", "4", "--memory", "mapped"]
    files = ["--json", "r.json", "--markdown", "r.md", "--plot", "r.png", "--layers"]
    assert bench.main([*words, *files, "--baseline", "--baseline-engine", str(plain)]) == 0
    text = capsys.readouterr().out
    for expected in ("Orin (sm87), TensorRT 10.3.0, mapped memory, CUDA graph", "memory floor: ", "frames/s", "p99-p50", "two frames in flight", "times as fast as plain TensorRT"):  # fmt: skip
        assert expected in text
    report = json.loads(Path("r.json").read_text())
    stages = report["stages"]
    assert set(stages) >= {"upload", "prepare", "forward", "decode", "download"}
    assert stages["forward"]["median"] > 0 and stages["decode"]["median"] > 0
    forward, decode = (stages[name]["median"] for name in (engine_timing.FORWARD, engine_timing.DECODE))
    assert report["decode_share"] == pytest.approx(decode / forward, rel=1e-2)
    least = report["floor"]
    assert least["milliseconds"] == pytest.approx(least["bytes"] / least["copy_bytes_per_second"] * 1e3)
    assert report["floor_ratio"] == pytest.approx(forward / least["milliseconds"], rel=1e-2)
    assert report["baseline"]["agreement"].startswith("labels equal on 9") or "100" in report["baseline"]["agreement"]
    assert [row["layer"] for row in report["layers"]] == ["whole"]
    assert len(report["latencies"]) == 4
    assert cv2.imread("r.png").shape[1] > 800
    assert "Made by `fastscnn-bench" in Path("r.md").read_text()
    assert bench.main([*words, "--baseline"]) == 2
    assert "--baseline-engine PLAN: one of fastscnn-export --input float" in capsys.readouterr().err
    assert bench.main([*words, "--baseline", "--baseline-engine", str(engine)]) == 2
    assert "is no baseline" in capsys.readouterr().err
    assert bench.main([str(exported("cls")), "--layers"]) == 2
    assert "--layers is for engines" in capsys.readouterr().err


def test_an_engine_that_kept_some_layers_wide_is_not_called_by_what_was_asked_for(
    standin: StandInGpu, exported: Exported, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine_timing.copy_rate, "__defaults__", (1 << 16,))
    engine = standin.engine(exported("cls"))
    side = engine.with_name(engine.name + ".json")
    description = json.loads(side.read_text())
    description["engine"]["precision"] = "mixed"
    side.write_text(json.dumps(description))
    assert bench.main([str(engine), "--burn-in", "0", "--frames", "1"]) == 0
    assert "cls head, mixed, uint8 input" in capsys.readouterr().out


def test_a_baseline_that_says_something_else_is_not_compared(
    standin: StandInGpu, exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = standin.engine(export("cls", (128, 256), classes="camvid", input="float", output=tmp_path / "c.onnx"), inside=True, name="plain.plan")  # fmt: skip
    words = [str(standin.engine(exported("cls"))), "--burn-in", "0", "--frames", "1"]
    assert bench.main([*words, "--baseline", "--baseline-engine", str(other)]) == 3
    assert "the baseline gives other labels" in capsys.readouterr().err


def test_pipelined_frames_are_counted_once(standin: StandInGpu, exported: Exported, frames: list[np.ndarray]) -> None:
    with Segmenter(standin.engine(exported("cls"))) as segmenter:
        started = time.perf_counter()
        rate = engine_timing.pipelined_rate(segmenter, frames, 10)
        assert 10 / rate < time.perf_counter() - started
        times = engine_timing.wall_times(segmenter, frames, 2, 6)
        assert len(times) == 6 and Summary.of(times).min > 0


def test_an_engine_that_takes_floats_and_has_no_kernels_is_timed_too(
    standin: StandInGpu, exported: Exported, frames: list[np.ndarray]
) -> None:
    plain = standin.engine(exported("cls", input="float"), inside=True)
    with Segmenter(plain) as segmenter:
        backend = engine_timing.backend_of(segmenter)
        assert engine_timing.stage_times(backend, frames[0], 0, 2)["forward"].median > 0


@pytest.fixture
def suite(standin: StandInGpu, monkeypatch: pytest.MonkeyPatch) -> StandInGpu:
    """`build` of the stand-in in place of TensorRT's."""

    def build(model: Path, output: Path | None = None, options: BuildOptions | None = None) -> Any:
        inside = options is not None and options.head_in_engine
        name = (output or model.with_suffix(".plan")).name
        path = standin.engine(model, inside=inside, name=name)
        return SimpleNamespace(path=path)

    monkeypatch.setattr(gpu_steps, "build", build)
    monkeypatch.setattr(engine_timing.copy_rate, "__defaults__", (1 << 16,))
    return standin


def test_the_suite_ends_with_a_table_and_survives_a_step(
    suite: StandInGpu, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("not today")

    monkeypatch.setattr(gpu_steps, "resizing", broken)
    report = tmp_path / "gpu.json"
    words = [
        "--json",
        str(report),
        "--folder",
        str(tmp_path),
        "--res",
        "64x96",
        "64x64",
        "--frames",
        "2",
        "--soak",
        "1",
    ]
    assert gpu.main(words) == 1
    said = capsys.readouterr()
    found = json.loads(report.read_text())
    assert set(found["failures"]) == {"other frame sizes", "torch eager", "torch compile"}, found["failures"]
    assert found["failures"]["other frame sizes"] == "RuntimeError: not today"
    assert "this PyTorch has no CUDA" in found["failures"]["torch eager"]
    for name in ("gpu", "cls", "prob", "logits", "correctness cls", "correctness prob", "baseline", "cls 64x64", "memory modes", "threads", "soak"):  # fmt: skip
        assert name in found["results"], name
    assert min(found["results"]["correctness prob"]["labels"]) > 0.998
    assert 0 <= found["results"]["correctness logits"]["logits"] < 1e-4
    assert "bytes, 11 classes" in found["results"]["cls"]["sentence"]
    assert found["results"]["baseline"]["ratio"] > 0
    lines = said.out.strip().splitlines()
    assert lines[0].startswith("gpu ") and "Orin (sm87" in lines[0]
    assert lines[-1].startswith("soak") and "frames in 1 s" in lines[-1]
    assert any("FAILED RuntimeError: not today" in line for line in lines)
    assert "3 steps failed: other frame sizes, torch eager, torch compile" in said.err


def test_steps_fail_where_the_engine_computes_something_else(
    standin: StandInGpu, exported: Exported, frames: list[np.ndarray]
) -> None:
    size = frames[0].shape[:2]

    def against(engine: Path, model: Path) -> Any:
        path = standin.engine(engine)
        return SimpleNamespace(engine=lambda *_: path, model=lambda *_: model, frames=lambda _: frames, count=4)

    with pytest.raises(ParityError, match=r"probabilities part by .* at most 1e-03 in fp32"):
        gpu_steps.correct(against(exported("prob"), exported("prob", probability="sigmoid")), "prob", size)
    with pytest.raises(ParityError, match=r"logits part by .* of their range; expected at most 1e-04 in fp32"):
        gpu_steps.correct(against(exported("logits"), exported("logits", precision="fp16")), "logits", size)
    with pytest.raises(ParityError, match="labels agree on"):
        gpu_steps.resizing(against(exported("cls"), exported("cls", classes="camvid")), size)


def test_goals_are_held_against_what_was_measured() -> None:
    results: dict[str, Any] = {
        "cls": {"forward_and_decode_per_second": 3000, "floor_ratio": 3.01, "decode_share": 0.05},
        "correctness cls": {"labels": [1.0, 0.9979]},
    }
    found = {goal["name"]: goal["holds"] for goal in gpu_goals.goals(results, True)}
    assert list(found.values()) == [True, False, None, True, False]
    text = gpu_goals.as_text(gpu_goals.goals(results, True))
    assert "DOES NOT HOLD" in text and "not measured" in text and "3,000 frames/s, bound 3,000: holds" in text
    drawn = gpu_goals.goals(results, False)
    assert [goal["holds"] for goal in drawn] == [True, False, None, True, None], "labels count on real frames only"
    assert all(goal["holds"] is None for goal in gpu_goals.goals({}, True))


@pytest.mark.gpu
def test_the_suite_on_a_real_gpu(tmp_path: Path) -> None:
    """A short one; only PyTorch, which is the CPU's in CI, may be missing."""
    if first() is None:
        pytest.skip("no GPU")
    pytest.importorskip("pycuda")
    report = tmp_path / "gpu.json"
    gpu.main(["--json", str(report), "--res", "256x512", "128x256", "--frames", "20", "--soak", "3"])
    found = json.loads(report.read_text())
    assert set(found["failures"]) <= {"torch eager", "torch compile"}, found["failures"]
    measured = found["results"]["cls"]
    assert measured["notes"] == [] and measured["device"].endswith("CUDA graph")
    assert measured["floor_ratio"] > 0.5, "the network's own traffic cannot move faster than a copy, but for the caches"
    assert len(measured["layers"]) > 10


def test_what_does_not_fit_into_the_time_is_left_out() -> None:
    outcome = gpu.run([("a", lambda: time.sleep(0.02) or {}), ("b", dict), ("c", lambda: {"sentence": "done"})], 0.01, always=("c",))  # fmt: skip
    assert list(outcome.results) == ["a", "c"]
    assert outcome.failures["b"].startswith("left out")
    assert "b" in gpu.table(outcome) and "done" in gpu.table(outcome)
