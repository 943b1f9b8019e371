"""The trial on machines that other programs use, trials that are held again, and an INT8 file beside its FP32 sibling."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from fastscnn.runtime import Segmenter
from fastscnn.runtime.backends import busy, sibling, trial
from fastscnn.runtime.backends.onnxruntime import OnnxRuntimeBackend

pytest.importorskip("openvino")
Exported = Callable[..., Path]
SIZE = (256, 512)


@pytest.fixture
def model(exported: Exported) -> Path:
    return exported("cls", SIZE, classes="camvid")


@pytest.fixture
def choosing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No device preferred, and a cache of this test's own; gives the cache's folder."""
    monkeypatch.delenv("FASTSCNN_DEVICE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(trial, "_SECONDS", 0.1)
    monkeypatch.setattr(trial, "run_apart", trial.compare)
    return tmp_path / "cache" / "fastscnn"


@pytest.fixture
def neighbour() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is busy on one core."""
    process = subprocess.Popen([sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")
@pytest.mark.usefixtures("neighbour")
def test_a_neighbours_work_is_seen() -> None:
    watch = busy.Busy()
    time.sleep(1.0)
    others = watch.cores()
    assert others is not None
    assert others > 0.4, "of the core that it wants"


def _counters(path: Path, working: int, idle: int) -> Path:
    """As /proc/stat has them, the same for each processor that this process may use; others, that it may not, are busy."""
    allowed = os.sched_getaffinity(0)
    lines = [f"cpu  {working} 0 0 {idle} 0 0 0 0 0 0"]
    lines += [f"cpu{n} {working} 0 0 {idle - 5} 5 0 0 0 {working} 0" for n in allowed]
    lines += [f"cpu{max(allowed) + 1} {working * 50} 0 0 0 0 0 0 0 0 0", "intr 1 2 3"]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")
def test_what_others_take_is_counted_without_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cores = len(os.sched_getaffinity(0))
    monkeypatch.setattr(busy, "usable_cores", lambda: cores)
    seconds, clock = iter([1.0, 1.5, 1.5, 1.5]), iter([10.0, 12.0, 12.0, 12.0])
    monkeypatch.setattr(busy.time, "process_time", lambda: next(seconds))
    monkeypatch.setattr(busy.time, "perf_counter", lambda: next(clock))
    stat = _counters(tmp_path / "stat", 1000, 5000)
    watch = busy.Busy(stat)
    _counters(stat, 1150, 5050)  # three quarters of the time somebody works, a quarter of one core's it is we
    assert watch.cores() == pytest.approx(0.75 * cores - 0.25)
    monkeypatch.setattr(busy, "usable_cores", lambda: max(1, cores - 1))  # a quota leaves a core unused, whoever has it
    spare = cores - max(1, cores - 1)
    assert watch.cores() == pytest.approx(max(0.0, 0.75 * cores - 0.25 - spare))
    stat.write_text("cpu0 nothing\n")
    assert watch.cores() is None, "of no kernel"
    stat.unlink()
    assert watch.cores() is None
    assert busy.Busy(stat).cores() is None


def test_a_trial_says_when_the_machine_was_busy_and_can_be_held_again(
    model: Path, choosing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(busy.Busy, "cores", lambda self: 1.5)
    with Segmenter(model) as segmenter:
        assert "other programs had 1.5 of" in segmenter.why
        assert "--try-again" in segmenter.why and "try_again=True" in segmenter.why
    (kept,) = choosing.iterdir()
    assert json.loads(kept.read_text())["busy"] == 1.5
    monkeypatch.setattr(busy.Busy, "cores", lambda self: 0.1)
    with Segmenter(model) as segmenter:  # remembered
        assert "other programs had 1.5 of" in segmenter.why
    with Segmenter(model, try_again=True) as segmenter:
        assert "other programs" not in segmenter.why
    assert [*choosing.iterdir()] == [kept]
    assert json.loads(kept.read_text())["busy"] == 0.1
    older = json.loads(kept.read_text())
    del older["busy"]  # as versions before wrote it
    kept.write_text(json.dumps(older))
    known = trial.known(model, None)
    assert known is not None and known.busy is None


class _Engine:
    """So slow a network; nothing else of a backend is used."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.runs = seconds, 0

    def logits(self, image: np.ndarray) -> None:
        self.runs += 1
        time.sleep(self.seconds)


def test_onnx_runtimes_threads_do_not_wait_without_end(model: Path) -> None:
    """Beside a busy neighbour the core that they wait for is somebody else's for milliseconds."""
    backend = OnnxRuntimeBackend(model, "cpu", 2)
    options = backend._session.get_session_options()
    assert 0 < int(options.get_session_config_entry("session.intra_op.spin_duration_us")) <= 100
    backend.close()


def test_who_is_far_behind_does_not_hold_up_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_SECONDS", 5.0)
    fast, near, slow = _Engine(0.010), _Engine(0.012), _Engine(0.060)
    times = trial.timed({"fast": fast, "near": near, "slow": slow}, [np.zeros(1)])  # type: ignore[dict-item]
    _, most = trial._ROUNDS
    assert (fast.runs, near.runs, slow.runs) == (most, most, trial._SHORTEST)
    assert 10 <= times["fast"] < times["near"] < 60 <= times["slow"], "its time is told all the same"


def test_ties_are_looked_for_only_where_labels_differ(
    model: Path, choosing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upsampling every class is a third of a trial."""
    asked: list[int] = []
    clear = trial.clear
    monkeypatch.setattr(trial, "clear", lambda *arguments: asked.append(1) or clear(*arguments))
    backend = trial.open_one(model, "cpu", 1)
    image = trial.scene(*SIZE)[None]
    logits = backend.logits(image)[0]
    answer = trial._Answer(backend, logits, 1e-2)
    assert answer.clearly_different(logits.copy()) == 0
    assert not asked
    turned = np.ascontiguousarray(logits[::-1])
    wrong = answer.clearly_different(turned)
    assert wrong > 0.5 * np.prod(SIZE)
    assert answer.clearly_different(turned) == wrong
    assert len(asked) == 1, "once a picture, however many engines"
    assert answer.clearly_different(np.full_like(logits, np.nan)) == np.prod(SIZE)
    backend.close()


@pytest.fixture
def pair(models: dict[str, Path], tmp_path: Path) -> tuple[Path, Path]:
    """An FP32 file and its INT8 sibling, named as fastscnn-quantize names them."""
    whole, small = tmp_path / "model.onnx", tmp_path / "model-int8.onnx"
    shutil.copy(models["cls_256x512_camvid.onnx"], whole)
    shutil.copy(models["cls_256x512_camvid_int8.onnx"], small)
    return whole, small


def test_an_int8_file_is_found_by_name_and_by_what_it_was_made_from(
    pair: tuple[Path, Path], models: dict[str, Path]
) -> None:
    whole, small = pair
    assert (sibling.sibling(whole), sibling.sibling(small)) == (small, whole)
    shutil.copy(models["cls_100x140_camvid.onnx"], whole)
    assert sibling.sibling(whole) is None, "another model has that name now"
    assert sibling.sibling(small) is None
    whole.write_bytes(b"damaged")
    assert sibling.sibling(small) is None
    whole.unlink()
    assert sibling.sibling(small) is None


@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [
        ((20.0, 10.0), "It is 2.00 times as fast; take it with -m"),
        ((10.0, 10.2), "Neither is clearly faster"),
        ((10.0, 15.0), "It is 1.50 times as slow"),
    ],
)
def test_what_is_told_of_a_sibling(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, milliseconds: tuple[float, float], expected: str
) -> None:
    files = [{"milliseconds": ms, "device": "an engine"} for ms in milliseconds]
    monkeypatch.setattr(sibling, "call", lambda *_, **__: {"files": files})
    told = sibling.beside(pair[0], "auto", None)
    assert told.startswith(f"model-int8.onnx lies beside it: {milliseconds[1]:.1f} ms on an engine, against")
    assert expected in told


def test_explain_tells_of_the_sibling(
    pair: tuple[Path, Path], choosing: Path, command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """As a user does, with real trials of both files; held once more, they are kept anew."""
    cv2.imwrite(str(tmp_path / "in.png"), trial.scene(*SIZE))
    words = ("in.png", "-m", pair[0].name, "-o", "out.png", "--explain", "--threads", "1")
    done = command("fastscnn-segment", *words)
    assert done.returncode == 0, done.stderr
    assert "chosen by a trial on this machine: " in done.stderr
    assert "model-int8.onnx lies beside it: " in done.stderr and "int8" in done.stderr
    kept = sorted(choosing.iterdir())
    assert len(kept) == 2
    before = [path.stat().st_mtime_ns for path in kept]
    done = command("fastscnn-segment", *words, "--try-again")
    assert done.returncode == 0, done.stderr
    assert sorted(choosing.iterdir()) == kept
    assert sum(path.stat().st_mtime_ns != then for path, then in zip(kept, before, strict=True)) == 1
