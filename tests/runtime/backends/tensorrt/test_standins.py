"""The stand-ins claim no more than what they stand for has: recorded names and prototypes, and the real ones where they are."""

import ctypes
import json
import re
from pathlib import Path
from typing import Any

import libcuda_standin
import pytest
import tensorrt_standin
from gpu_standin import Machine
from installing import StandInGpu

from fastscnn import benchmarks
from fastscnn.runtime.backends.tensorrt import driver

STANDINS = Path(__file__).parents[3] / "standins"
BASES = {"ManagedAllocation": ["DeviceAllocation"], "PagelockedHostAllocation": ["HostPointer"]}


def public(thing: Any) -> set[str]:
    return {name for name in vars(thing) if not name.startswith("_")}


def test_pycuda_has_these_names(standin: StandInGpu) -> None:
    recorded = json.loads((STANDINS / "pycuda_names.json").read_text())
    assert public(standin.cuda) <= set(recorded["module"])
    for name, members in recorded["classes"].items():
        thing = getattr(standin.cuda, name, None)
        if thing is not None:
            known = set(members).union(*(recorded["classes"][base] for base in BASES.get(name, ())))
            assert public(thing) <= known | {"handle"}, name
    for used in ("CONCURRENT_MANAGED_ACCESS", "CAN_MAP_HOST_MEMORY", "MANAGED_MEMORY", "INTEGRATED"):
        assert used in recorded["classes"]["device_attribute"]


def test_what_the_runtime_calls_is_recorded() -> None:
    """Every `cuda.name` in the source, also those that no test happens to reach."""
    recorded = json.loads((STANDINS / "pycuda_names.json").read_text())
    source = "".join(path.read_text() for path in Path(driver.__file__).parent.glob("*.py"))
    used = set(re.findall(r"\bcuda\.([A-Za-z_]+)", source)) - {"driver", "h"}
    assert {"pagelocked_empty", "mem_alloc", "Stream", "Device"} <= used <= set(recorded["module"])


def test_the_driver_is_called_as_it_is_declared() -> None:
    for name, arguments in driver.SIGNATURES.items():
        declared = [ctypes.c_char_p if kind is ctypes.c_char_p else kind for kind in libcuda_standin.types(name)]
        assert list(arguments) == declared, name


def test_the_prototypes_are_those_of_cuda_h() -> None:
    header = next(
        (p for p in (Path("/usr/local/cuda/include/cuda.h"), Path("/usr/include/cuda.h")) if p.exists()), None
    )
    if header is None:
        pytest.skip("no cuda.h on this machine")
    text = " ".join(header.read_text().split())
    for name, prototype in libcuda_standin.PROTOTYPES.items():
        if name != "cuGraphInstantiateWithFlags" or name + "(" in text:
            plain = name.removesuffix("_v2").removesuffix("WithFlags") if name + "(" not in text else name
            assert f"CUresult CUDAAPI {plain}{prototype};" in text, name
            assert plain == name or re.search(rf"#define {plain} \S*{name}\b", text), name


@pytest.mark.parametrize("version", ["8.6.0", "10.3.0", "10.13.3.9", "10.16.1.11", "11.4.0.106", "rtx-1.7.1"])
def test_tensorrt_has_these_names(shared: Path, version: str) -> None:
    names = json.loads((shared / "facts" / "surfaces" / f"{version}.json").read_text())["names"]
    module = tensorrt_standin.make(Machine(None), "0.0", version.startswith("rtx"))
    for kind in ("Runtime", "ICudaEngine", "IExecutionContext", "IProfiler", "TensorIOMode"):
        thing = getattr(module, kind)
        members = {name for name in dir(thing) if not name.startswith("_") and name not in ("name", "value")}
        assert members <= set(names[kind]), kind
    # INT64 came with TensorRT 10.
    assert {member.name for member in tensorrt_standin.DataType} - {"INT64"} <= set(names["DataType"])


def test_tensorrt_is_asked_for_nothing_else(shared: Path) -> None:
    """Names that the source uses on TensorRT's objects, against the record of every version."""
    files = [*Path(driver.__file__).parent.glob("*.py"), *((Path(benchmarks.__file__).parent / "engine").glob("*.py"))]
    source = "".join(path.read_text() for path in files)
    used = set(re.findall(r"(?:_engine|engine|_execution|execution|_runtime|module)\.([a-zA-Z_0-9]+)", source))
    used -= {
        "binding",
        "close",
        "context",
        "description",
        "get_function",
        "launch",
        "plan",
        "with_name",
    }  # this project's own
    assert {"execute_async_v3", "set_tensor_address", "deserialize_cuda_engine", "profiler"} <= used
    for path in (shared / "facts" / "surfaces").glob("*.json"):
        names = json.loads(path.read_text())["names"]
        ours = used if path.name.startswith("rtx") else used - {"is_stream_capturable"}
        assert ours <= set(names).union(*names.values()), path.name


def test_streams_run_nothing_before_they_are_waited_for(standin: StandInGpu) -> None:
    cuda = standin.cuda
    context = cuda.Device(0).retain_primary_context()
    context.push()
    stream, ran = cuda.Stream(1), []
    stream._stream.put(lambda: ran.append(1))
    assert not ran and not stream.is_done()
    stream.synchronize()
    assert ran == [1]
    with pytest.raises(AssertionError, match="which it does not have"):
        standin.machine.visible(12345, 4, "a kernel")
    del stream
    context.detach()
    standin.machine.contexts.pop()
