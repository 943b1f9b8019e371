"""The OpenVINO backend against ONNX Runtime's, on the weights that ship; the choice between them and its memory."""

import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from emulation import in_time

from fastscnn.runtime import ArtifactError, DeviceError, ParityError, Segmenter, UsageError, install
from fastscnn.runtime.artifacts import onnx_operators
from fastscnn.runtime.backends import agreement, trial
from fastscnn.runtime.backends.onnxruntime import OnnxRuntimeBackend
from fastscnn.runtime.backends.openvino import OpenVinoBackend, available
from fastscnn.runtime.decode.decoder import described

openvino = pytest.importorskip("openvino")
Exported = Callable[..., Path]
SIZE = (256, 512)

needs_bf16 = pytest.mark.skipif("openvino-bf16" not in available(), reason="this processor has no bfloat16 arithmetic")


@pytest.fixture
def choosing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No device preferred, and a cache of this test's own; gives the cache's folder."""
    monkeypatch.delenv("FASTSCNN_DEVICE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(trial, "_SECONDS", 0.2)
    monkeypatch.setattr(trial, "run_apart", trial.compare)  # in this process, where tests change things; see below
    return tmp_path / "cache" / "fastscnn"


@pytest.mark.parametrize("resolution", [SIZE, (100, 140)])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_float32_equals_onnxruntime_but_for_ties(
    shipped: Exported, scenes: list[np.ndarray], resolution: tuple[int, int], precision: str
) -> None:
    path = shipped(resolution=resolution, precision=precision)
    ours, theirs = OpenVinoBackend(path), OnnxRuntimeBackend(path, "cpu")
    native = precision == "fp16" and platform.machine() == "aarch64"  # ONNX Runtime computes in FP16 there: 4.0e-3
    assert (ours.precision, ours.device.startswith("OpenVINO CPU fp32")) == (precision, True)
    for scene in scenes:
        image = cv2.resize(scene, resolution[::-1])[None]
        expected = theirs.logits(image)[0]
        tolerance = 1e-5 if precision == "fp32" else agreement.REDUCED
        differing = ours.run(image).labels[0] != theirs.run(image).labels[0]
        assert not np.any(differing & agreement.clear(expected, resolution, tolerance))
        assert differing.mean() < (6e-3 if native else 1e-3)
        assert agreement.share(ours.logits(image)[0], expected) < tolerance


@pytest.mark.torch
@needs_bf16
def test_bfloat16_passes_the_gate_of_fp16_with_room(whole: Path, scenes: list[np.ndarray]) -> None:
    path = whole
    ours, theirs = OpenVinoBackend(path, "openvino-bf16"), OnnxRuntimeBackend(path, "cpu")
    assert ours.precision == "bf16"
    for scene in scenes:
        expected = theirs.logits(scene[None])[0]
        difference = agreement.share(ours.logits(scene[None])[0], expected)
        assert 1e-4 < difference < 0.8 * agreement.REDUCED, "0 would mean that it computes in float32"
        differing = ours.run(scene[None]).labels[0] != theirs.run(scene[None]).labels[0]
        assert not np.any(differing & agreement.clear(expected, SIZE, agreement.REDUCED))
        assert differing.mean() < 0.005


@pytest.mark.parametrize(
    ("head", "options"), [("prob", {}), ("logits", {}), ("cls", {"input": "float"}), ("cls", {"batch": 2})]
)
def test_every_head_input_and_batch(
    shipped: Exported, scenes: list[np.ndarray], head: str, options: dict[str, object]
) -> None:
    path = shipped(head, **options)
    with Segmenter(path, "openvino", threads=2) as ours, Segmenter(path, "cpu", threads=2) as theirs:
        count = int(options.get("batch", 1))  # type: ignore[call-overload]
        for found, expected in zip(ours.batch(scenes[:count]), theirs.batch(scenes[:count]), strict=True):
            assert np.mean(found.labels == expected.labels) > 0.9999
            if head == "prob":
                assert np.abs(found.probabilities - expected.probabilities).max() < 1e-4
            if head == "logits":
                assert agreement.share(found.logits, expected.logits) < 1e-5


def test_results_stay_when_the_next_frame_comes(shipped: Exported, scenes: list[np.ndarray]) -> None:
    """The engine writes logits where results keep them; from many threads, too."""
    for device in ("cpu", "openvino"):
        with Segmenter(shipped("logits"), device) as segmenter:
            expected = [segmenter(scene).logits.copy() for scene in scenes]
            with ThreadPoolExecutor(4) as pool:
                results = list(pool.map(lambda i: segmenter(scenes[i % 3]), range(12)))
        for index, result in enumerate(results):
            assert np.array_equal(result.logits, expected[index % 3])


def test_the_choice_is_made_once_told_and_obeyed(
    shipped: Exported,
    scenes: list[np.ndarray],
    choosing: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = shipped()
    with caplog.at_level(logging.INFO), Segmenter(path) as first:
        labels = first(scenes[0]).labels
    assert "trying once" in caplog.text
    (kept,) = choosing.iterdir()
    told = json.loads(kept.read_text())
    assert set(told["entries"]) == {"cpu", *available()}
    timed = {name: entry["milliseconds"] for name, entry in told["entries"].items() if not entry["refused"]}
    fastest = min(timed, key=lambda name: timed[name])
    assert told["chosen"] in (fastest, "cpu")
    assert told["chosen"] == "cpu" or timed[told["chosen"]] < timed["cpu"]
    assert first.why.startswith(f"{told['chosen']} chosen by a trial on this machine: ")
    assert all(f"{name} {ms:.1f} ms" in first.why for name, ms in timed.items())
    for choice in ("cpu", "openvino"):  # whatever stands there is taken without another trial
        kept.write_text(json.dumps({**told, "chosen": choice}))
        monkeypatch.setattr(trial, "hold", None)
        with Segmenter(path) as again:
            assert again.device.startswith("ONNX Runtime" if choice == "cpu" else "OpenVINO CPU fp32")
            assert np.mean(again(scenes[0]).labels == labels) > 0.995


def test_a_cache_that_is_damaged_foreign_or_unwritable_fails_nothing(
    shipped: Exported, choosing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shipped()
    Segmenter(path).close()
    (kept,) = choosing.iterdir()
    sound = json.loads(kept.read_text())
    known = trial.known(path, None)
    assert known is not None
    damaged = [
        "",
        "{",
        "[]",
        "null",
        json.dumps({**sound, "chosen": "abacus"}),
        json.dumps({**sound, "entries": {}}),
        json.dumps({**sound, "entries": {sound["chosen"]: {"milliseconds": "fast"}}}),
        json.dumps({**sound, "entries": {sound["chosen"]: {"milliseconds": 1.0, "refused": "wrong"}}}),
        json.dumps({**sound, "facts": {**sound["facts"], "processor": "another"}}),
    ]
    for text in damaged:
        kept.write_text(text)
        assert trial.known(path, None) is None, text
    kept.write_bytes(b"\xff\xfe\x00")
    Segmenter(path).close()
    assert json.loads(kept.read_text())["facts"] == sound["facts"], "the damaged file was not replaced"
    kept.unlink()
    choosing.rmdir()
    choosing.write_text("a file where the folder should be")
    with Segmenter(path) as segmenter:
        assert "chosen by a trial" in segmenter.why
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    monkeypatch.delenv("XDG_CACHE_HOME")
    Segmenter(path).close()


@pytest.mark.parametrize(
    ("change", "value"),
    [("processor", lambda: "another"), ("usable_cores", lambda: 99), ("versions", lambda *names: {"openvino": "1"})],
)
def test_another_machine_or_version_tries_anew(
    shipped: Exported, choosing: Path, monkeypatch: pytest.MonkeyPatch, change: str, value: object
) -> None:
    path = shipped()
    Segmenter(path, threads=1).close()
    assert trial.known(path, 1) is not None
    assert trial.known(path, 2) is None, "other threads, other times"
    assert trial.known(shipped("prob"), 1) is None
    monkeypatch.setattr(trial, change, value)
    assert trial.known(path, 1) is None


def test_reduced_precision_that_parts_is_refused(
    shipped: Exported, choosing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backend that gives other labels may be ever so fast: it is not chosen, and refused where it is named."""
    path = shipped()
    honest = OpenVinoBackend.logits

    def wrong(self: OpenVinoBackend, image: np.ndarray) -> np.ndarray:
        return honest(self, image)[:, ::-1] if "bf16" in self.device else honest(self, image)

    monkeypatch.setattr(OpenVinoBackend, "logits", wrong)
    if "openvino-bf16" not in available():
        pytest.skip("this processor has no bfloat16 arithmetic")
    with Segmenter(path) as segmenter:
        assert "bf16" not in segmenter.device
        assert "openvino-bf16: parts from cpu by" in segmenter.why
    with pytest.raises(ParityError, match="parts from cpu by"):
        Segmenter(path, "openvino-bf16")
    (kept,) = choosing.iterdir()
    assert json.loads(kept.read_text())["entries"]["openvino-bf16"]["milliseconds"] is None


def test_a_preference_of_the_machine_and_devices_that_are_not_there(
    shipped: Exported, choosing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTSCNN_DEVICE", "openvino")
    with Segmenter(shipped()) as segmenter:
        assert (segmenter.device.startswith("OpenVINO CPU fp32"), segmenter.why) == (True, "")
    with Segmenter(shipped(), "cpu") as segmenter:
        assert segmenter.device.startswith("ONNX Runtime")
    monkeypatch.setenv("FASTSCNN_DEVICE", "abacus")
    with pytest.raises(UsageError, match="'abacus' is unknown"):
        Segmenter(shipped())
    if "openvino-gpu" not in available():
        with pytest.raises(DeviceError, match=r"openvino-gpu.*is not there"):
            Segmenter(shipped(), "openvino-gpu")
        with pytest.raises(DeviceError, match="finds no GPU"):
            OpenVinoBackend(shipped(), "openvino-gpu")


def test_a_graph_that_openvino_refuses_and_one_that_is_not_its_description(
    shipped: Exported, choosing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(onnx_operators.OPERATORS, "Rely", onnx_operators.OPERATORS["Relu"])  # as if exports had it
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(shipped().read_bytes().replace(b"Relu", b"Rely"))
    with pytest.raises(ArtifactError, match="OpenVINO refuses"):
        Segmenter(damaged, "openvino")
    edited = tmp_path / "edited.onnx"
    edited.write_bytes(shipped().read_bytes().replace(b'"uint8"', b'"float"'))
    with pytest.raises(ArtifactError, match="does not match its own description"):
        Segmenter(edited, "openvino")


def test_without_openvino_onnxruntime_runs_and_nothing_is_said(shipped: Exported, tmp_path: Path) -> None:
    code = (
        "import logging, sys\n"
        "sys.modules['openvino'] = None\n"  # what an import finds where the package is not there
        "from fastscnn import Segmenter\n"
        "from fastscnn.runtime import DeviceError\n"
        "logging.basicConfig(level=logging.INFO)\n"
        "with Segmenter(sys.argv[1]) as segmenter:\n"
        "    print(segmenter.device, segmenter.why)\n"
        "try:\n"
        "    Segmenter(sys.argv[1], 'openvino')\n"
        "except DeviceError as error:\n"
        "    print(error)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "FASTSCNN_DEVICE"} | {"XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code, shipped()], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert first.startswith("ONNX Runtime CPU")
    assert install.command("openvino") in second
    assert not (tmp_path / "fastscnn").exists(), "a trial without a rival"


def test_an_openvino_that_is_installed_and_broken(shipped: Exported, tmp_path: Path) -> None:
    broken = tmp_path / "site" / "openvino"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('libtbb.so.12: cannot open shared object file')")
    code = (
        "import sys\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from fastscnn import Segmenter\n"
        "with Segmenter(sys.argv[1]) as segmenter:\n"
        "    print(segmenter.device)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "FASTSCNN_DEVICE"} | {"XDG_CACHE_HOME": str(tmp_path)}
    words = [sys.executable, "-c", code, shipped(), broken.parent]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ONNX Runtime CPU")


def test_without_onnxruntime_openvino_runs(shipped: Exported, tmp_path: Path) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('No module named onnxruntime')")
    code = (
        "import sys\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from fastscnn import Segmenter\n"
        "with Segmenter(sys.argv[1]) as segmenter:\n"
        "    print(segmenter.device)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "FASTSCNN_DEVICE"} | {"XDG_CACHE_HOME": str(tmp_path)}
    words = [sys.executable, "-c", code, shipped(), tmp_path]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("OpenVINO CPU")


BROKEN = {
    "openvino": ("openvino", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashes (SIGSEGV)", "ONNX Runtime CPU"),
    "hanging openvino": ("openvino", "import time; time.sleep(100)", "hangs: no answer for 5 s", "ONNX Runtime CPU"),
    "onnxruntime": ("onnxruntime", "import os, signal; os.kill(os.getpid(), signal.SIGILL)", "crashes (SIGILL)", "OpenVINO CPU"),
}  # fmt: skip


@in_time
@pytest.mark.parametrize("name", BROKEN)
def test_an_engine_that_crashes_costs_a_note_once(shipped: Exported, tmp_path: Path, name: str) -> None:
    """A real process falls over a real signal; the robot's goes on with another engine, and does not try again."""
    module, code, said, expected = BROKEN[name]
    site = tmp_path / "site"
    (site / module).mkdir(parents=True)
    (site / module / "__init__.py").write_text(f"open({str(tmp_path / 'tries')!r}, 'a').write('x')\n{code}\n")
    robot = (
        "import logging, sys\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "import fastscnn.runtime.backends.trial as trial\n"
        "trial._PATIENCE = 5.0 if 'hang' in sys.argv[3] else 60.0\n"
        "from fastscnn import Segmenter\n"
        "from fastscnn.runtime import DeviceError\n"
        "logging.basicConfig(level=logging.WARNING)\n"
        "with Segmenter(sys.argv[1], threads=1) as segmenter:\n"
        "    print(segmenter.device + ' | ' + segmenter.why)\n"
        "if 'openvino' in sys.argv[3]:\n"
        "    try:\n"
        "        Segmenter(sys.argv[1], 'openvino', threads=1)\n"
        "    except DeviceError as error:\n"
        "        print(error)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "FASTSCNN_DEVICE"} | {"XDG_CACHE_HOME": str(tmp_path)}
    words = [sys.executable, "-c", robot, shipped(), site, name]
    first, second = (subprocess.run(words, capture_output=True, text=True, env=environment) for _ in range(2))
    for done in (first, second):
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(expected)
        assert said in done.stdout
    assert said in first.stderr
    assert second.stderr == "", "a trial that was remembered is not held again"
    tries = (tmp_path / "tries").read_text()
    assert len(tries) == 1, "it was tried again"


def test_a_device_that_is_named_passes_the_same_gate(
    shipped: Exported, choosing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32 and of INT8 files, too: with SME, an ARM processor's instructions, OpenVINO's were wrong."""
    honest = OpenVinoBackend.logits
    monkeypatch.setattr(OpenVinoBackend, "logits", lambda self, image: honest(self, image)[:, ::-1])
    with pytest.raises(ParityError, match="'openvino': parts from cpu by"):
        Segmenter(shipped(), "openvino")
    monkeypatch.setattr(OpenVinoBackend, "logits", honest)
    with pytest.raises(ParityError, match="'openvino': parts from cpu by"):
        Segmenter(shipped(), "openvino")  # remembered
    with Segmenter(shipped("prob"), "openvino") as segmenter:
        assert segmenter.device.startswith("OpenVINO CPU fp32")


@in_time
def test_commands_explain_the_choice(
    shipped: Exported, choosing: Path, command: Callable[..., object], tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "in.png"), trial.scene(*SIZE))
    done = command("fastscnn-segment", "in.png", "-m", shipped(), "-o", "out.png", "--explain")
    assert "chosen by a trial on this machine: " in done.stderr  # type: ignore[attr-defined]
    done = command("fastscnn-segment", "in.png", "-m", shipped(), "-o", "out.png", "--explain", "--device", "cpu")
    assert "without a choice" in done.stderr  # type: ignore[attr-defined]
    assert f"decode: {described()}\n" in done.stderr  # type: ignore[attr-defined]
    done = command("fastscnn-bench", shipped(), "--burn-in", 1, "--frames", 3, "--baseline")
    assert done.returncode == 0, done.stderr  # type: ignore[attr-defined]
    assert "chosen by a trial on this machine: " in done.stdout  # type: ignore[attr-defined]
    assert f", decode {described()}\n" in done.stdout  # type: ignore[attr-defined]
