"""The protocol's arithmetic, and the command as a user runs it."""

import json
import subprocess
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from fastscnn.benchmarks import Summary, measure
from fastscnn.benchmarks.baseline import InGraph
from fastscnn.benchmarks.bench import _agreement
from fastscnn.export import export
from fastscnn.model import CITYSCAPES, Street
from fastscnn.model.checkpoint import save, untrained
from fastscnn.model.variant import MMSEG, TRAMAC, Variant
from fastscnn.runtime import ParityError, Segmenter

Command = Callable[..., subprocess.CompletedProcess[str]]
Exported = Callable[..., Path]
Frames = list[np.ndarray]
SHORT = ["--burn-in", "2", "--frames", "5"]


def test_statistics_are_the_textbooks() -> None:
    values = np.arange(1.0, 102.0)
    summary = Summary.of(values)
    assert (summary.mean, summary.min, summary.median) == (51, 1, 51)
    assert (summary.p90, summary.p95, summary.p99) == (91, 96, 100)
    assert summary.jitter == 49
    assert summary.frames_per_second == pytest.approx(1000 / 51)


def test_burn_in_is_not_counted_and_pipelines_take_turns() -> None:
    calls: list[str] = []
    frames = [np.full((2, 2, 3), value, np.uint8) for value in range(3)]

    def pipeline(name: str, seconds: float) -> Callable[[np.ndarray], dict[str, float]]:
        def run(frame: np.ndarray) -> dict[str, float]:
            calls.append(f"{name}{frame[0, 0, 0]}")
            time.sleep(seconds if len(calls) > 4 else 0.2)
            return {"inner": 1.5}

        return run

    advanced: list[int] = []
    found = measure(
        {"a": pipeline("a", 0.01), "b": pipeline("b", 0.03)}, frames, burn_in=2, count=4, advance=advanced.append
    )
    turns = [calls[index : index + 2] for index in range(0, 12, 2)]
    assert [sorted(turn) for turn in turns] == [[f"a{n}", f"b{n}"] for n in (0, 1, 2, 0, 1, 2)]
    assert {turn[0][0] for turn in turns} == {"a", "b"}, "one of them is always first"
    assert len(advanced) == 6
    assert [len(m.stages["total"]) for m in found.values()] == [4, 4]
    assert 10 <= found["a"].summary().median < 30 <= found["b"].summary().median < 150, (
        "a slept-through burn-in was counted"
    )
    assert found["a"].summary("inner").mean == 1.5


def test_who_leaves_threads_busy_is_followed_by_a_rest() -> None:
    told: list[tuple[str, float]] = []

    def pipeline(name: str) -> Callable[[np.ndarray], dict[str, float]]:
        def run(frame: np.ndarray) -> dict[str, float]:
            told.append((name, time.perf_counter()))
            return {}

        return run

    frames = [np.zeros((2, 2, 3), np.uint8)]
    measure({name: pipeline(name) for name in "abc"}, frames, burn_in=0, count=6, rests={"b": 0.3})
    for (name, began), (_, ended) in pairwise(told):
        assert ended - began >= 0.3 or name != "b"


def test_command_says_what_was_timed_on_what(command: Command, exported: Exported, tmp_path: Path) -> None:
    done = command(
        "fastscnn-bench", exported(), *SHORT, "--json", "report.json", "--plot", "plot.png", "--markdown", "report.md"
    )
    assert done.returncode == 0, done.stderr
    for expected in (
        "cls head, fp32",
        "height=128 width=256",
        "random weights",
        "onnxruntime",
        "2 frames burn-in, the next 5 measured",
    ):
        assert expected in done.stdout
    for expected in ("forward", "frame to result", "what the timer encloses", "p99-p50", "frames/s"):
        assert expected in done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report["stages"]) == {"forward", "frame to result", "prepare", "decode"}
    parts = sum(report["stages"][stage]["mean"] for stage in ("forward", "prepare", "decode"))
    assert parts <= report["stages"]["frame to result"]["mean"]
    assert report["machine"]["packages"]["onnxruntime"]
    assert cv2.imread(str(tmp_path / "plot.png")).shape[1] > 800
    assert f"Made by `{report['command']}`" in (tmp_path / "report.md").read_text()
    assert report["command"].startswith("fastscnn-bench ")


@pytest.mark.parametrize("head", ["cls", "prob"])
def test_baseline_runs_beside_ours(command: Command, exported: Exported, head: str) -> None:
    done = command("fastscnn-bench", exported(head), *SHORT, "--baseline", "--json", "-")
    assert done.returncode == 0, done.stderr
    baseline = json.loads(done.stdout)["baseline"]
    assert baseline["total"]["median"] > 0
    assert baseline["ratio"] > 0
    assert baseline["agreement"].startswith("labels equal on" if head == "cls" else "probabilities equal to")


def test_softmax_baseline_is_resize_then_softmax(exported: Exported, frames: Frames) -> None:
    from fastscnn.benchmarks.baseline import _with_softmax
    from fastscnn.runtime.artifacts import onnx_file

    data = onnx_file.read(exported("prob"))
    plain = onnx.load_from_string(_with_softmax(onnx_file.without_head(data, "m"), onnx_file.artifact(data, "m")))
    onnx.checker.check_model(plain, full_check=True)
    assert [node.op_type for node in plain.graph.node][-2:] == ["Resize", "Softmax"]
    with Segmenter(exported("prob")) as segmenter:
        assert np.abs(segmenter(frames[0]).probabilities - InGraph(exported("prob"), 1)(frames[0])).max() < 1e-5


@pytest.mark.parametrize("variant", [TRAMAC, MMSEG], ids=["tramac", "mmseg"])
def test_the_baseline_obeys_the_description(tmp_path: Path, variant: Variant) -> None:
    """Aligned corners and sigmoids, as imported weights have them; the benchmark would refuse a baseline that parts."""
    save(tmp_path / "weights.safetensors", untrained(CITYSCAPES, 1, variant))
    model = export("prob", (64, 96), tmp_path / "weights.safetensors", output=tmp_path / "model.onnx")
    frame = Street(64, 96).frame(0)[0]
    baseline = InGraph(model, 1)
    assert baseline.name.endswith("Resize + Sigmoid in the graph") == (variant == MMSEG)
    with Segmenter(model, "cpu") as segmenter:
        assert np.abs(segmenter(frame).probabilities - baseline(frame)).max() < 1e-5


def test_pipelines_that_disagree_are_not_compared(exported: Exported, frames: Frames) -> None:
    with Segmenter(exported()) as segmenter:
        result = segmenter(frames[0])
        wrong = result.labels.copy()
        wrong[:2] += 1
        with pytest.raises(ParityError, match=r"other labels on 1\.56% of pixels"):
            _agreement(result, wrong, segmenter.artifact, exact=True)


def test_unlike_reports_are_not_compared(command: Command, exported: Exported, tmp_path: Path) -> None:
    command("fastscnn-bench", exported(), *SHORT, "--json", "a.json")
    alike = command("fastscnn-bench", exported(), *SHORT, "--compare", "a.json")
    assert alike.returncode == 0, alike.stderr
    assert "compared with a.json" in alike.stdout
    for other, named in (
        (exported("prob"), "head (cls there, prob here)"),
        (exported(precision="fp16"), "precision (fp32 there, fp16 here)"),
        (exported(input="float"), "input (uint8 there, float here)"),
        (exported(resolution=(64, 64)), "resolution (128x256 there"),
    ):
        done = command("fastscnn-bench", other, *SHORT, "--compare", "a.json")
        assert done.returncode == 2
        assert named in done.stderr
        assert done.stdout == "", "the refusal came after the measurement"
    (tmp_path / "b.json").write_text("[]")
    done = command("fastscnn-bench", exported(), *SHORT, "--compare", "b.json")
    assert (done.returncode, "is not a report" in done.stderr) == (2, True)


def test_own_frames(command: Command, exported: Exported, frames: Frames, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "street.png"), frames[0])
    done = command("fastscnn-bench", exported(), *SHORT, "--source", "street.png")
    assert "of street.png (1 frames" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["absent.onnx"], 4, "absent.onnx does not exist"),
        (["MODEL", "--frames", "0"], 2, "'0' is not a whole number"),
        (["MODEL", "--source", "absent"], 1, "absent does not exist"),
        (["MODEL", "--compare", "absent.json"], 2, "absent.json cannot be read"),
        (["MODEL", "--json", "no/r.json"], 1, "no/r.json cannot be written"),
        (["MODEL", "--plot", "p.xyz"], 2, "p.xyz ends in .xyz; expected a picture"),
    ],
)
def test_errors(command: Command, exported: Exported, arguments: list[str], code: int, message: str) -> None:
    done = command(
        "fastscnn-bench",
        *[exported() if a == "MODEL" else a for a in arguments],
        *(SHORT if "--frames" not in arguments else []),
    )
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_logits_models_have_no_baseline(command: Command, exported: Exported) -> None:
    done = command("fastscnn-bench", exported("logits"), *SHORT, "--baseline")
    assert (done.returncode, "compares cls and prob models" in done.stderr) == (2, True)


def test_demo_ends_with_a_video_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from fastscnn.benchmarks.demo import main

    assert main(["--res", "128x256", "--frames", "3", "-o", str(tmp_path / "demo")]) == 0
    told = capsys.readouterr()
    assert "times as fast as the baseline" in told.out
    assert "11 classes (camvid), trained weights" in told.out
    names = ["benchmark.md", "fastscnn-cls-128x256.onnx", "overlay.mp4", "overlay.png"]
    assert sorted(p.name for p in (tmp_path / "demo").iterdir()) == names
    picture = cv2.imread(str(tmp_path / "demo" / "overlay.png"))
    assert picture.shape[0] > 2 * 540
    assert picture.shape[1] == 960


def test_batches_count_every_frame(command: Command, exported: Exported) -> None:
    """A frame takes about as long in a batch of four as alone; on a machine that others use, in one of three tries."""
    ratios = []
    while len(ratios) < 3 and not (ratios and 0.3 < ratios[-1] < 2.5):
        single, four = (
            json.loads(
                command(
                    "fastscnn-bench", exported(batch=batch), "--burn-in", 3, "--frames", 15, "--threads", 1, "--json", "-"
                ).stdout
            )["stages"]["frame to result"]["median"]
            for batch in (1, 4)
        )  # fmt: skip
        ratios.append(four / single)
    assert 0.3 < ratios[-1] < 2.5, f"four frames counted as one would be four times as slow: {ratios}"


def test_the_baseline_does_not_slow_us_down(exported: Exported) -> None:
    """Its idle threads used to spin through our turns: by default 40 ms of processor in 100 ms, and our frames took twice as long."""
    baseline = InGraph(exported(resolution=(360, 480)), 2)
    frame, spent = Street(360, 480).frame(0)[0], []
    for _ in range(5):
        baseline(frame)
        began = time.process_time()
        time.sleep(0.1)
        spent.append(time.process_time() - began)
    assert min(spent) < 0.01
