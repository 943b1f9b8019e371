"""Put the stand-ins where the program finds what they stand for, and engines for them on disk."""

from __future__ import annotations

import ctypes
import gc
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import libcuda_standin
import onnxruntime
import pycuda_standin
import pytest
import tensorrt_standin
from gpu_standin import CUBIN, Machine

from fastscnn.runtime.artifacts import engine_file, engine_fit, onnx_file, tensorrt_binding
from fastscnn.runtime.artifacts.engine_file import EngineDescription, EngineTensor, Kernels
from fastscnn.runtime.decode import kernels


def compiled_kernels(folder: Path) -> ctypes.CDLL:
    """The kernels as plain C++; skips where there is no compiler."""
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler (c++, g++, clang++) on the PATH")
    target = folder / "kernels.so"
    options = ["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-fPIC", "-shared"]
    # A CPU forgives a misaligned store and an overflow; a GPU stops at the first. So here they end the process, too.
    options += ["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
    source = Path(__file__).parents[1] / "runtime" / "decode" / "kernels_on_cpu.cpp"
    done = subprocess.run(
        [compiler, *options, "-I", kernels.FOLDER, "-o", target, source], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(target))


class StandInGpu:
    """One machine with a GPU, installed for a test; `engine` writes a pair of files that fits it."""

    version = "10.3.0"

    def __init__(self, patch: pytest.MonkeyPatch, library: ctypes.CDLL | None, folder: Path) -> None:
        self._patch, self._library, self._folder = patch, library, folder
        self.machine = Machine(library)
        self.tensorrt: Any = None

    def install(self, flavour: str = "tensorrt", **machine: Any) -> StandInGpu:
        self.machine = Machine(self._library, **machine)
        self.cuda_library = libcuda_standin.Library(self.machine)
        real = ctypes.CDLL
        self._patch.setattr(
            ctypes, "CDLL", lambda name, *a, **k: self.cuda_library if name == "libcuda.so.1" else real(name, *a, **k)
        )
        for name, module in zip(("pycuda", "pycuda.driver"), pycuda_standin.make(self.machine), strict=True):
            self._patch.setitem(sys.modules, name, module)
        for name in tensorrt_binding.MODULES.values():
            self._patch.setitem(sys.modules, name, None)
        self.tensorrt = tensorrt_standin.make(self.machine, self.version, flavour == "rtx")
        self._patch.setitem(sys.modules, tensorrt_binding.MODULES[flavour], self.tensorrt)
        return self

    @property
    def cuda(self) -> Any:
        return sys.modules["pycuda.driver"]

    def engine(
        self, model: Path, *, inside: bool = False, sibling: bool = False, name: str = "engine.plan", **changes: Any
    ) -> Path:
        """A plan for this machine from an exported model, as fastscnn-trt would describe it."""
        source = model.read_bytes()
        artifact = onnx_file.artifact(source, model.name)
        plan = source if inside or artifact.head == "logits" else onnx_file.without_head(source, model.name)
        session = onnxruntime.InferenceSession(plan)
        types = {kind: tensorrt_standin.NUMPY[word] for kind, word in tensorrt_standin._TYPES.items()}
        ends = [(t, False) for t in session.get_inputs()] + [(t, True) for t in session.get_outputs()]
        tensors = tuple(EngineTensor(t.name, output, types[t.type], tuple(t.shape)) for t, output in ends)
        major, minor = self.machine.capability
        target = f"sm{major}{minor}"
        values: dict[str, Any] = {
            "artifact": artifact, "flavour": "tensorrt", "version": self.version, "targets": (target,), "device": self.machine.name,
            "system": engine_fit.system(), "version_compatible": False, "dla": None, "precision": "fp32", "precision_from": "types",
            "tensors": tensors, "layers": (), "memory": 1000, "options": {}, "source": model.name, "source_sha256": engine_file.digest(source),
            "key": "0" * 64, "seconds": 1.0, "built": "", "size": len(plan), "sha256": engine_file.digest(plan),
            "kernels": None if inside else Kernels(kernels.digest(), {target: CUBIN}),
        }  # fmt: skip
        path = self._folder / name
        engine_file.write(path, plan, EngineDescription(**{**values, **changes}))
        if sibling:
            shutil.copy(model, path.with_name(model.name))
        return path

    def assert_clean(self) -> None:
        gc.collect()
        self.machine.assert_clean()
        assert self.tensorrt is None or self.tensorrt.alive == 0, "TensorRT's objects are still alive"
