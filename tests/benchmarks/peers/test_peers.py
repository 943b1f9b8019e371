"""The comparison with peers and the measurement of growth: as a user runs them, and what they must refuse."""

import contextlib
import json
import math
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from fastscnn.benchmarks.growth import cli as growth
from fastscnn.benchmarks.peers import cli as peers
from fastscnn.benchmarks.peers import competitors as field
from fastscnn.benchmarks.peers.competitors import OURS, Competitor
from fastscnn.benchmarks.peers.report import as_table, ratios
from fastscnn.export import export
from fastscnn.runtime import ParityError
from fastscnn.runtime.artifacts import onnx_file

NAMES = [
    "ONNX Runtime in-graph",
    "OpenVINO f32 in-graph",
    "OpenVINO bf16 in-graph",
    "PyTorch eager",
    "PyTorch channels-last",
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a compiler: torch.compile needs one, and half a minute of it."""
    import torch

    def compiler(function: object) -> object:
        raise RuntimeError("no C++ compiler\nand a page of advice")

    monkeypatch.setattr(torch, "compile", compiler)


@pytest.mark.parametrize("head", ["cls", "prob"])
@pytest.mark.usefixtures("uncompiled")
def test_all_competitors_in_one_run(head: str, tmp_path: Path) -> None:
    threads = cv2.getNumThreads()
    code = peers.main(
        ["--head", head, "--res", "64x96", "128x256", "--rounds", "2", "--threads", "1", "-o", str(tmp_path)]
    )
    cv2.setNumThreads(threads)
    assert code == 0
    report = json.loads((tmp_path / f"peers-{head}.json").read_text())
    assert [result["resolution"] for result in report["results"]] == ["64x96", "128x256"]
    assert {"onnxruntime", "openvino", "torch", "fastscnn"} <= {*report["machine"]["packages"], "fastscnn"}
    for result in report["results"]:
        entries = {entry["name"]: entry for entry in result["entries"]}
        assert {*NAMES, f"{OURS}, cpu", f"{OURS}, openvino", "PyTorch torch.compile"} <= set(entries)
        assert entries["PyTorch torch.compile"]["absent"] == "RuntimeError: no C++ compiler"
        for entry in entries.values():
            assert ("median" in entry) != bool(entry["absent"])
            if "median" in entry:
                assert entry["agreement"] >= peers.AGREEMENT
                assert 0 < entry["min"] <= entry["median"] <= entry["p90"]
        ours = entries[result["ratios"]["ours"]]
        assert ours["median"] == min(e["median"] for e in entries.values() if e["ours"] and "median" in e)
        ratio = entries["PyTorch eager"]["median"] / ours["median"]
        assert result["ratios"]["to_pytorch_eager"] == pytest.approx(ratio, abs=1e-3)
        assert set(ours["stages"]) == {"prepare", "forward", "decode"}
        assert 0 < result["peaks"]["fp32"] < 1000
        assert result["multiply_adds"] > 1e6
    page = (tmp_path / f"peers-{head}.md").read_text()
    assert "not timed: PyTorch torch.compile: RuntimeError: no C++ compiler" in page
    assert f"--head {head}" in page
    assert "| a product of matrices, fp32 |" in page
    assert re.search(rf"\| {OURS}, cpu: network \(of that peak\) \| [\d.]+ \(\d+%\) \|", page)
    picture = cv2.imread(str(tmp_path / f"peers-{head}.png"))
    assert min(picture.shape[:2]) > 200


def test_a_quantised_file_takes_part_at_its_own_resolution(tmp_path: Path) -> None:
    model = export("cls", (64, 96), output=tmp_path / "model.onnx")
    artifact = onnx_file.artifact(onnx_file.read(model), "model")
    assert peers._matching([model], artifact) == model
    with contextlib.ExitStack() as held:
        opened = field.competitors(model, None, model, 1, held)
        names = [one.name for one in (next(opened) for _ in range(10)) if one.run is not None]
    assert {
        f"{OURS}, INT8, cpu",
        f"{OURS}, INT8, openvino",
        "ONNX Runtime INT8 in-graph",
        "OpenVINO INT8 in-graph",
    } <= set(names)
    other = export("cls", (96, 64), output=tmp_path / "other.onnx")
    assert peers._matching([other], artifact) is None


def frame_labels(value: int, share: float = 0.0) -> field.Run:
    labels = np.full((100, 100), value, np.uint8)
    labels.ravel()[: int(share * labels.size)] += 1
    return lambda frame: (labels, {})


def test_no_time_counts_where_labels_part(tmp_path: Path) -> None:
    artifact = onnx_file.artifact(onnx_file.read(export("cls", (64, 96), output=tmp_path / "m.onnx")), "m")
    frames = [np.zeros((100, 100, 3), np.uint8)]
    ours = Competitor(f"{OURS}, cpu", True, frame_labels(3))
    peer = Competitor("peer", False, frame_labels(3))
    wrong = Competitor("wrong", False, frame_labels(3, 0.006))
    near = Competitor("near", False, frame_labels(3, 0.004))
    rounded = Competitor("INT8", False, frame_labels(3, 0.006), quantised=True)
    coarse = Competitor("INT4", False, frame_labels(3, 0.04), quantised=True)
    opened = [ours, peer, wrong, near, rounded, coarse]
    entries = {e["name"]: e for e in peers.compare(opened, frames, artifact, 2)["entries"]}
    assert {name for name, e in entries.items() if "median" in e} == {f"{OURS}, cpu", "peer", "near", "INT8"}
    assert entries["wrong"]["absent"] == "gives other labels on 0.60% of pixels"
    with pytest.raises(ParityError, match="no time of this runtime would count"):
        peers.compare([Competitor(f"{OURS}, cpu", True, frame_labels(3, 0.006)), peer], frames, artifact, 2)
    with pytest.raises(ParityError, match="no peer is installed"):
        peers.compare([ours, Competitor("absent", False, None, "not here")], frames, artifact, 2)


def test_ratios_are_of_our_fastest_to_the_fastest_peer() -> None:
    times = {f"{OURS}, a": 4.0, f"{OURS}, b": 2.0, "ONNX Runtime in-graph": 9.0, "PyTorch eager": 30.0, "x": 5.0}
    entries = [
        {"name": n, "ours": n.startswith(OURS), "absent": "", "median": t, "agreement": 1.0} for n, t in times.items()
    ]
    entries.append({"name": "gone", "ours": False, "absent": "not installed"})
    found = ratios(entries)
    assert (found["ours"], found["fastest_peer"], found["to_fastest_peer"]) == (f"{OURS}, b", "x", 2.5)
    assert (found["to_onnxruntime"], found["to_pytorch_eager"]) == (4.5, 15.0)
    table = as_table({"head": "cls", "results": [{"resolution": "8x8", "entries": entries, "ratios": found}]})
    assert "| gone | – |" in table
    assert "- not timed: gone: not installed" in table
    assert ratios([]) == {}


def test_growth_is_measured_in_processes_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "BATCHES", (1, 2))
    monkeypatch.setattr(growth, "IN_FLIGHT", (1, 2))
    assert growth.main(["--res", "64x64", "512x1024", "-o", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "growth.json").read_text())
    points = report["points"]
    assert {p["sweep"] for p in points} == {"resolution", "batch", "threads", "frames in flight"}
    small, large = (next(p for p in points if p["at"] == h * w) for h, w in ((64, 64), (512, 1024)))
    assert large["milliseconds"] > 3 * small["milliseconds"]
    assert large["peak_mb"] > small["peak_mb"] + 10
    assert 30 < small["peak_mb"] < 300, "the parent's memory was counted, or nothing"
    fit = report["fits"]["cpu"]
    assert fit["time_exponent"] == pytest.approx(
        math.log(large["milliseconds"] / small["milliseconds"]) / math.log(large["at"] / small["at"]), abs=2e-3
    )
    assert f"{fit['mb_per_megapixel']:.0f} MB a megapixel" in (tmp_path / "growth.md").read_text()
    assert min(cv2.imread(str(tmp_path / "growth.png")).shape[:2]) > 200


def test_exponents_are_those_of_the_points() -> None:
    points = [
        {"asked": "cpu", "sweep": "resolution", "at": n, "milliseconds": 3e-4 * n**1.5, "peak_mb": 80 + 60 * n / 1e6}
        for n in (1_000, 50_000, 2_000_000)
    ]
    points.append({"asked": "cpu", "sweep": "batch", "at": 1, "milliseconds": 1e9, "peak_mb": 1e9})
    points.append({"asked": "other", "sweep": "resolution", "at": 1, "milliseconds": 1e9, "peak_mb": 1e9})
    fit = growth.fits(points, "cpu")
    assert (fit["time_exponent"], fit["mb_per_megapixel"], fit["mb_base"]) == (1.5, 60.0, 80.0)


@pytest.mark.parametrize(
    ("main", "arguments", "code"),
    [
        (growth.main, ["--res", "64x64"], 2),
        (growth.main, ["-o", "/proc/no"], 1),
        (peers.main, ["-o", "/proc/no"], 1),
    ],
)
def test_refusals(main: object, arguments: list[str], code: int) -> None:
    assert main(arguments) == code  # type: ignore[operator]
