"""Engines that cannot run: each error names cause and remedy, and ends with the exit code that belongs to it."""

import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu_standin import RefusalError
from installing import StandInGpu

from fastscnn.runtime import ArtifactError, DeviceError, FastSCNNError, Segmenter, UsageError, install
from fastscnn.runtime.artifacts import gpu
from fastscnn.runtime.backends.tensorrt import TensorRTBackend
from fastscnn.runtime.commands import segment

Exported = Callable[..., Path]
OUT_OF_MEMORY = RefusalError(2, "out of memory")


def fails(engine: Path, kind: type[FastSCNNError], message: str, code: int) -> None:
    with pytest.raises(kind, match=message) as error:
        Segmenter(engine, "cuda")
    assert error.value.exit_code == code


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "10.2.0"}, "built with TensorRT 10.2.0 and 10.3.0 is installed; engines fit one version"),
        ({"targets": ("sm86",)}, "built for sm86 and this GPU, Orin, is sm87"),
        ({"device": "Xavier"}, "built on Xavier and this GPU is Orin"),
        ({"memory": 1 << 40}, "needs about 1,099,5.. MB and Orin has 8,590 MB"),
        ({"system": "Windows AMD64"}, "engines do not cross systems"),
        ({"flavour": "rtx"}, "TensorRT for RTX cannot be imported"),
    ],
)
def test_an_engine_for_something_else(
    standin: StandInGpu, exported: Exported, changes: dict[str, Any], message: str
) -> None:
    engine = standin.engine(exported(), **changes)
    fails(
        engine,
        DeviceError,
        f"(?s)does not fit this machine: .*{message}.*Build it here from .*onnx with fastscnn-trt build",
        4,
    )


def test_damage_is_found_before_tensorrt_sees_it(
    standin: StandInGpu, exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = standin.engine(exported(), sibling=True)
    plan, description = engine.read_bytes(), engine.with_name("engine.plan.json")
    told = description.read_text()
    monkeypatch.setattr(standin.tensorrt, "Runtime", None)  # calling it would be a TypeError
    for damaged in (plan[:-1], plan[:100], b"", bytes([plan[0] ^ 1]) + plan[1:]):
        engine.write_bytes(damaged)
        fails(engine, ArtifactError, r"is not the engine that engine\.plan\.json describes", 4)
        with pytest.raises(ArtifactError, match="is not the engine"):  # nor does ONNX Runtime stand in for damage
            Segmenter(engine, "auto")
    engine.write_bytes(plan)
    for text in (told[:200], "[]", json.dumps({**json.loads(told), "format": 99})):
        description.write_text(text)
        fails(engine, ArtifactError, "Build it again", 4)
    description.unlink()
    fails(engine, ArtifactError, "has no description beside it", 4)
    engine.unlink()
    fails(engine, ArtifactError, "does not exist; expected an engine", 4)


def test_no_driver_no_gpu_no_pycuda(standin: StandInGpu, exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = standin.engine(exported())
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    fails(engine, DeviceError, "needs pycuda, which cannot be imported .* " + re.escape(install.command("trt")), 4)
    standin.install(devices=0)
    fails(engine, DeviceError, "the CUDA driver finds no GPU. Look at `nvidia-smi`", 4)
    monkeypatch.setattr(gpu, "_LIBRARY", "libabsent.so.1")
    fails(engine, DeviceError, r"no CUDA driver: libabsent\.so\.1 is not installed", 4)


@pytest.mark.parametrize(
    "raised", ["ValueError('numpy.dtype size changed')", "OSError('libcurand.so.10')", "AttributeError('_driver')"]
)
def test_a_pycuda_that_raises_what_it_likes(
    standin: StandInGpu, exported: Exported, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, raised: str
) -> None:
    engine = standin.engine(exported())
    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda" / "__init__.py").write_text("")
    (tmp_path / "pycuda" / "driver.py").write_text(f"raise {raised}")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "pycuda"]:
        monkeypatch.delitem(sys.modules, name)
    said = raised.split("'")[1]
    fails(engine, DeviceError, f"needs pycuda, which cannot be imported .*{re.escape(said)}.* Install: ", 4)
    for name in [name for name in sys.modules if name.partition(".")[0] == "pycuda"]:
        monkeypatch.delitem(sys.modules, name)


def test_a_driver_that_does_not_start(standin: StandInGpu, exported: Exported) -> None:
    engine = standin.engine(exported())
    standin.install(fails={"cuInit": RefusalError(999, "unknown error")})
    fails(engine, DeviceError, "the CUDA driver does not start", 4)


@pytest.mark.parametrize("call", ["cuMemAlloc", "cuMemHostAlloc"])
def test_out_of_memory_while_opening(standin: StandInGpu, exported: Exported, call: str) -> None:
    engine = standin.engine(exported())
    standin.machine.fails[call] = OUT_OF_MEMORY
    fails(
        engine,
        DeviceError,
        r"ran out of memory while opening .*; 8,\d+ of its 8,590 MB are free\. Close other programs",
        4,
    )


def test_out_of_memory_as_it_really_runs_out(standin: StandInGpu, exported: Exported) -> None:
    standin.install(memory=5_100_000)
    engine = standin.engine(exported("prob"), memory=0)
    fails(engine, DeviceError, "ran out of memory while opening", 4)


def test_tensorrt_has_no_room(standin: StandInGpu, exported: Exported) -> None:
    standin.tensorrt.no_context = "[virtualMemoryBuffer.cpp] Error Code 2: OutOfMemory (Requested size was 1 bytes)"
    fails(
        standin.engine(exported()), DeviceError, "does not make room for .*ran out of memory. Close other programs", 4
    )


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            "Version tag does not match. Current Version: 239, Serialized Engine Version: 238",
            "built for another TensorRT or GPU",
        ),
        ("CUDA initialization failure with error: 35", "no working CUDA driver"),
        ("something new", "something new. Build the engine again here"),
    ],
)
def test_plans_that_tensorrt_refuses(
    standin: StandInGpu, exported: Exported, said: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    standin.tensorrt.complains = said
    fails(standin.engine(exported()), DeviceError, f"TensorRT 10.3.0 does not open .*{message}", 4)


def test_an_engine_that_is_not_what_its_description_says(standin: StandInGpu, exported: Exported) -> None:
    path = standin.engine(exported())
    content = json.loads(path.with_name("engine.plan.json").read_text())
    content["engine"]["tensors"][-1]["name"] = "scores"
    path.with_name("engine.plan.json").write_text(json.dumps(content))
    fails(path, ArtifactError, "does not match its own description: .*logits.*expected .*scores", 4)


def test_kernels_that_do_not_load(
    standin: StandInGpu, exported: Exported, frames: list[np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    """Such as those of a CUDA that is newer than the driver: the CPU decodes, as without any."""
    from fastscnn.runtime.artifacts.engine_file import Kernels
    from fastscnn.runtime.decode import kernels

    broken = Kernels(kernels.digest(), {"sm87": b"broken"})
    model = exported()
    with Segmenter(standin.engine(model, kernels=broken)) as ours, Segmenter(model, "cpu", threads=1) as theirs:
        assert np.mean(ours(frames[0]).labels == theirs(frames[0]).labels) > 0.999
    assert "do not load with this driver" in caplog.text and "device kernel image is invalid" in caplog.text
    assert "so the CPU resizes and decodes, which is slower" in caplog.text
    assert standin.machine.launched == []


def test_kernels_of_another_version_are_not_launched(
    standin: StandInGpu, exported: Exported, frames: list[np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    from fastscnn.runtime.artifacts.engine_file import Kernels
    from fastscnn.runtime.decode import kernels

    for held, words in (
        (Kernels("0" * 64, {"sm87": b"?"}), "are those of another version of this program"),
        (Kernels(kernels.digest(), {"sm86": b"?"}), "are for sm86, not sm87"),
    ):
        with Segmenter(standin.engine(exported(), kernels=held)) as segmenter:
            segmenter(frames[0])
        assert words in caplog.text
    assert standin.machine.launched == []


def test_a_gpu_that_stops(standin: StandInGpu, exported: Exported, frames: list[np.ndarray]) -> None:
    with Segmenter(standin.engine(exported())) as segmenter:
        segmenter(frames[0])
        standin.machine.fails["cuStreamSynchronize"] = RefusalError(719, "unspecified launch failure")
        with pytest.raises(FastSCNNError, match=r"CUDA failed while segmenting: .*unspecified launch failure") as error:
            segmenter(frames[0])
        assert error.value.exit_code == 1
        standin.machine.fails.clear()
        segmenter(frames[0])


def test_tensorrt_refuses_to_run(standin: StandInGpu, exported: Exported) -> None:
    standin.tensorrt.refuses = True
    fails(standin.engine(exported()), FastSCNNError, r"refuses to run the engine \(while opening", 1)


def test_no_room_for_a_second_frame_in_flight(
    standin: StandInGpu, exported: Exported, frames: list[np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    with Segmenter(standin.engine(exported())) as segmenter:
        alone = [segmenter(frame).labels for frame in frames]
        standin.machine.fails["cuMemAlloc"] = OUT_OF_MEMORY
        found = [result.labels for result in segmenter.stream(frames * 3)]
        assert all(np.array_equal(a, b) for a, b in zip(found, alone * 3, strict=True))
        assert len(standin.machine.streams) == 1
        assert caplog.text.count("no room for another frame in flight") == 1


@pytest.mark.parametrize("call", ["cuMemAlloc", "cuMemHostAlloc"])
def test_no_room_for_frames_of_another_size(
    standin: StandInGpu, exported: Exported, frames: list[np.ndarray], call: str
) -> None:
    with Segmenter(standin.engine(exported())) as segmenter:
        wanted = segmenter(frames[0]).labels
        standin.machine.fails[call] = OUT_OF_MEMORY
        held = []
        for _ in range(3):
            with pytest.raises(DeviceError, match="ran out of memory while segmenting"):
                segmenter(frames[0][:100].copy())
            held.append(standin.machine.allocated)
        assert held[0] == held[2], "what a failure had allocated is given back"
        assert np.array_equal(segmenter(frames[0]).labels, wanted)


def test_a_refused_capture_is_noted_once(
    standin: StandInGpu, exported: Exported, frames: list[np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    standin.machine.refuses_capture = True
    with Segmenter(standin.engine(exported())) as segmenter:
        segmenter(frames[0])
        segmenter(frames[0][:100].copy())
        backend = segmenter.backend
        assert isinstance(backend, TensorRTBackend)
        assert backend.notes == ["cuStreamEndCapture: CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"]
    assert caplog.text.count("no CUDA graph, so each frame is launched step by step") == 1


def test_tensorrt_refuses_while_it_is_captured(
    standin: StandInGpu, exported: Exported, frames: list[np.ndarray]
) -> None:
    """The stream is usable afterwards, and the graph that was begun is gone."""
    standin.tensorrt.refuses_in_capture = True
    with Segmenter(standin.engine(exported())) as segmenter:
        backend = segmenter.backend
        assert isinstance(backend, TensorRTBackend)
        assert backend.notes == ["TensorRT refuses to run the engine"]
        assert segmenter(frames[0]).labels.shape == frames[0].shape[:2]


def test_a_driver_without_graphs(standin: StandInGpu, exported: Exported, frames: list[np.ndarray]) -> None:
    del standin.cuda_library.cuGraphInstantiateWithFlags
    with Segmenter(standin.engine(exported())) as segmenter:
        assert segmenter.device.endswith("stream")
        segmenter(frames[0])
    standin.machine.contexts.clear()  # without the driver's own pop the context stays current in this thread; see Context


def test_memory_that_this_device_does_not_have(standin: StandInGpu, exported: Exported) -> None:
    engine = standin.engine(exported())
    standin.machine.attributes["CAN_MAP_HOST_MEMORY"] = 0
    with pytest.raises(DeviceError, match="Orin, has no mapped memory"):
        Segmenter(engine, memory="mapped")
    with pytest.raises(UsageError, match="'fast' is unknown; expected one of auto, pinned, mapped, managed"):
        Segmenter(engine, memory="fast")
    with pytest.raises(UsageError, match="is for engines"):
        Segmenter(exported(), memory="mapped")
    with pytest.raises(UsageError, match="runs on a GPU only"):
        Segmenter(engine, "cpu")


def test_auto_falls_back_to_the_onnx_file_loudly_and_cuda_never(
    standin: StandInGpu, exported: Exported, frames: list[np.ndarray]
) -> None:
    model = exported()
    engine = standin.engine(model, sibling=True, version="9.9.9")
    with pytest.warns(RuntimeWarning, match=r"onnx on ONNX Runtime CPU.* instead of the engine: .*9\.9\.9") as said:
        segmenter = Segmenter(engine, threads=1)
    with segmenter, Segmenter(model, "cpu", threads=1) as wanted:
        assert segmenter.device == "ONNX Runtime CPU, 1 thread"
        assert np.array_equal(segmenter(frames[0]).labels, wanted(frames[0]).labels)
    assert len(said) == 1
    fails(engine, DeviceError, "does not fit this machine", 4)
    sibling = engine.with_name(model.name)
    sibling.write_bytes(exported("prob").read_bytes())
    with pytest.raises(
        DeviceError, match=r"Nor can ONNX Runtime stand in: .* is not the file that the engine was built from"
    ):
        Segmenter(engine)
    sibling.unlink()
    with pytest.raises(
        DeviceError, match=r"does not fit this machine.*Nor can ONNX Runtime stand in: .*does not exist"
    ):
        Segmenter(engine)


def test_the_command_ends_with_the_code(
    standin: StandInGpu, exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = standin.engine(exported())
    engine.write_bytes(engine.read_bytes()[:-5])
    picture = tmp_path / "a.png"
    picture.write_bytes(b"")
    assert segment.main([str(picture), "-m", str(engine), "-o", str(tmp_path / "out.png")]) == 4
    assert "is not the engine that" in capsys.readouterr().err


def test_importing_it_needs_no_cuda() -> None:
    code = "import sys, fastscnn.runtime.backends.tensorrt; assert not {'pycuda', 'tensorrt', 'tensorrt_rtx', 'torch', 'onnx'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


EXIT = """
import sys, ctypes, logging, warnings
sys.path.insert(0, {standins!r})
from pathlib import Path
import pytest
from installing import StandInGpu
import numpy as np
from fastscnn.runtime import Segmenter
patch = pytest.MonkeyPatch()
gpu = StandInGpu(patch, ctypes.CDLL({library!r}), Path({folder!r})).install()
kept = Segmenter(gpu.engine(Path({model!r})))
kept(np.zeros((50, 60, 3), np.uint8))
kept.loop = kept
import atexit, weakref
@atexit.register
def before(): pass
class Last:
    def __del__(self, machine=gpu.machine, print=print):
        print("clean" if not machine.ranges and not machine.problems else machine.problems or "leaks", flush=True)
last = Last()
print("ending", flush=True)
"""


def test_a_forgotten_one_does_not_crash_the_interpreter_at_exit(
    exported: Exported, kernels_library: Any, tmp_path: Path
) -> None:
    code = EXIT.format(
        standins=str(Path(__file__).parents[3] / "standins"),
        library=kernels_library._name,
        folder=str(tmp_path),
        model=str(exported()),
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["ending", "clean"], done.stdout + done.stderr
    assert "ResourceWarning: unclosed Segmenter of" in done.stderr
    assert "Traceback" not in done.stderr
