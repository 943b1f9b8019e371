"""Why an engine does not fit this machine: each reason in words, found without asking TensorRT."""

import ctypes
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fastscnn.runtime import DeviceError, UsageError, install
from fastscnn.runtime.artifacts import engine_fit, gpu, onnx_file, tensorrt_binding
from fastscnn.runtime.artifacts.engine_file import EngineDescription, EngineTensor
from fastscnn.runtime.artifacts.gpu import Gpu

ORIN = Gpu("Orin", "sm87", 8 << 30)
HERE = engine_fit.system()
Describe = Callable[..., EngineDescription]


@pytest.fixture
def describe(exported: Callable[..., Path]) -> Describe:
    """An engine for this machine, but for the changes."""
    artifact = onnx_file.artifact(onnx_file.read(exported()), "m")
    tensors = (
        EngineTensor("image", False, "uint8", (1, 2, 2, 3)),
        EngineTensor("logits", True, "float16", (1, 9, 1, 1)),
    )

    def make(**changes: Any) -> EngineDescription:
        values: dict[str, Any] = dict.fromkeys(("source_sha256", "key", "sha256"), "0" * 64)
        values |= {"artifact": artifact, "tensors": tensors, "layers": (), "options": {}, "kernels": None, "dla": None}
        values |= {"flavour": "tensorrt", "version": "10.3.0", "targets": ("sm87",), "device": "Orin", "system": HERE}
        values |= {"version_compatible": False, "precision": "fp16", "precision_from": "inspector", "memory": 5_000_000}
        values |= {"source": "m.onnx", "seconds": 1.0, "built": "", "size": 9_000_000}
        return EngineDescription(**{**values, **changes})

    return make


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def make(version: str | None = "10.3.0", device: Gpu | None = ORIN, flavour: str = "tensorrt") -> None:
        for name in tensorrt_binding.MODULES.values():
            monkeypatch.setitem(sys.modules, name, None)  # importing it fails
        if version:
            module = SimpleNamespace(__version__=version)
            monkeypatch.setitem(sys.modules, tensorrt_binding.MODULES[flavour], module)  # type: ignore[arg-type]

        def gpus() -> list[Gpu]:
            if device is None:
                raise DeviceError("no CUDA driver")
            return [device]

        monkeypatch.setattr(engine_fit, "gpus", gpus)

    return make


def test_an_engine_fits_where_it_was_built(machine: Callable[..., None], describe: Describe) -> None:
    machine()
    assert engine_fit.misfits(describe()) == []


@pytest.mark.parametrize(
    ("here", "engine", "reason"),
    [
        ({"version": "10.3.1"}, {}, "built with TensorRT 10.3.0 and 10.3.1 is installed; engines fit one version"),
        ({"version": None}, {}, "TensorRT cannot be imported"),
        ({"version": "10.2.0"}, {"version_compatible": True}, "from its own minor version up"),
        ({"version": "11.0.0"}, {"version_compatible": True}, "same major version"),
        ({"version": "1.6.0", "flavour": "rtx"}, {"flavour": "rtx", "version": "1.7.1"}, "plans fit one release"),
        ({"device": Gpu("RTX 4070", "sm89", 8 << 30)}, {}, "built for sm87 and this GPU, RTX 4070, is sm89"),
        ({"device": Gpu("Other", "sm87", 8 << 30)}, {}, "built on Orin and this GPU is Other"),
        ({"device": Gpu("Orin", "sm87", 1 << 20)}, {}, "needs about 14 MB and Orin has 1 MB"),
        ({"device": None}, {}, r"runs on a GPU \(sm87\) and this machine has none: no CUDA driver"),
        ({}, {"system": "Linux sparc"}, f"built on Linux sparc and this is {HERE}"),
    ],
)
def test_each_reason_is_a_sentence(
    machine: Callable[..., None], describe: Describe, here: dict[str, Any], engine: dict[str, Any], reason: str
) -> None:
    machine(**here)
    (found,) = engine_fit.misfits(describe(**engine))
    assert re.search(reason, found)


@pytest.mark.parametrize("version", ["10.3.0", "10.3.1", "10.16.1.11"])
def test_version_compatible_engines_run_on_later_minor_versions(
    machine: Callable[..., None], describe: Describe, version: str
) -> None:
    machine(version)
    assert engine_fit.misfits(describe(version_compatible=True)) == []


def test_the_classic_flavour_comes_first(machine: Callable[..., None]) -> None:
    machine("1.7.1", flavour="rtx")
    assert tensorrt_binding.find().flavour == "rtx"
    sys.modules["tensorrt"] = SimpleNamespace(__version__="10.3.0")  # type: ignore[assignment]
    assert tensorrt_binding.find().name == "TensorRT 10.3.0"
    assert tensorrt_binding.find("rtx").name == "TensorRT for RTX 1.7.1"
    with pytest.raises(UsageError, match="expected one of tensorrt, rtx"):
        tensorrt_binding.find("trt")
    machine(None)
    with pytest.raises(DeviceError, match="JetPack.*" + re.escape(install.command("rtx"))):
        tensorrt_binding.find()


class Driver:
    """libcuda's functions that are used, with the results of a machine that has one Orin or none."""

    def __init__(self, start: int = 0, devices: int = 1) -> None:
        self.start, self.devices = start, devices

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.start

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = self.devices
        return 0

    def cuDeviceGetName(self, name: Any, size: int, index: int) -> int:  # noqa: N802
        name.value = b"Orin"
        return 0

    def cuDeviceTotalMem_v2(self, memory: Any, index: int) -> int:  # noqa: N802
        memory._obj.value = 8 << 30
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, index: int) -> int:  # noqa: N802
        value._obj.value = {75: 8, 76: 7}[attribute]
        return 0


def test_the_driver_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver())
    assert gpu.gpus() == [ORIN]
    assert gpu.first() == ORIN
    for driver, message in (
        (Driver(100), "finds no GPU"),
        (Driver(devices=0), "finds no GPU"),
        (Driver(999), "error 999"),
    ):
        monkeypatch.setattr(ctypes, "CDLL", lambda name, driver=driver: driver)
        with pytest.raises(DeviceError, match=message):
            gpu.gpus()
        assert gpu.first() is None
    monkeypatch.undo()
    monkeypatch.setattr(gpu, "_LIBRARY", "libabsent.so.1")
    with pytest.raises(DeviceError, match=r"libabsent\.so\.1 is not installed"):
        gpu.gpus()
