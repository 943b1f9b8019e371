"""Stand-ins for the TensorRT bindings that need a GPU: they have the names that were recorded from the real ones, no others.

A stand-in knows just enough to be built with: its plan is a JSON text that tells the layers. What a real builder does is
tested with TensorRT for RTX in test_rtx.py, and with any flavour where there is a GPU in test_gpu.py.
"""

from __future__ import annotations

import enum
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest

from fastscnn.runtime.artifacts.gpu import Gpu

ORIN = Gpu("Orin", "sm87", 32 << 30)
ENUMS = (
    "BuilderFlag", "DataType", "DeviceType", "ErrorCode", "LayerInformationFormat", "LayerType", "MemoryPoolType",
    "NetworkDefinitionCreationFlag", "ProfilingVerbosity", "TacticSource", "TensorIOMode",
)  # fmt: skip


@dataclass
class Behaviour:
    """What the stand-in does, and what was asked of it."""

    gpu: bool = True
    stubborn: tuple[str, ...] = ()  # convolutions that stay in FP32
    opaque: tuple[str, ...] = ()  # convolutions that end up in a region which tells nothing of its inside
    complaint: str = ""  # logged by a build that fails
    unsupported: int | None = None  # number of the node that the parser does not know
    dla_cores: int = 0
    foreign_timing_cache: bool = False
    network_flags: set[str] = field(default_factory=set)
    builder_flags: set[str] = field(default_factory=lambda: {"TF32"})
    config: Any = None
    pools: dict[str, int] = field(default_factory=dict)  # memory limits that were set
    ignored_mismatch: bool = False  # of a timing cache
    host_code_allowed: bool = False
    opened_on: int | None = None  # DLA core of the runtime that opened the engine
    ignores_quantisers: bool = False
    said: str = ""  # an error that is logged by a build that succeeds


class Thing:
    """An object of a binding: it has what is set here, may be given what the binding knows, and nothing else."""

    def __init__(self, surface: StandIn, kind: str, **members: Any) -> None:
        object.__setattr__(self, "_known", {"name", *surface.names[kind]})  # the record leaves `name` out
        object.__setattr__(self, "_kind", f"{kind} of {surface.__version__}")
        for name, value in members.items():
            if name in self._known:  # what this version lacks is left out
                object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._known:
            raise AttributeError(f"{self._kind} has no {name}")
        object.__setattr__(self, name, value)


class Memory:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def __bytes__(self) -> bytes:
        return self._data


class StandIn:
    """A TensorRT module made of recorded names."""

    def __init__(self, surface: dict[str, Any], behaviour: Behaviour) -> None:
        self.names: dict[str, list[str]] = surface["names"]
        self.__version__: str = surface["version"]
        self.does = behaviour
        for kind in ENUMS:
            members = [name for name in self.names[kind] if name.isupper()]
            setattr(self, kind, enum.IntEnum(kind, {name: number for number, name in enumerate(members)}))  # type: ignore[misc]
        self.severity = enum.Enum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")
        self.ILogger = type("ILogger", (), {"__init__": lambda self: None, "Severity": self.severity})
        if "IProgressMonitor" in self.names:
            self.IProgressMonitor = type("IProgressMonitor", (), {"__init__": lambda self: None})

    @property
    def split_types(self) -> bool:
        return int(self.__version__.split(".")[0]) >= 11

    def complain(self, logger: Any, message: str) -> None:
        logger.log(self.severity.ERROR, message)

    def Builder(self, logger: Any) -> Thing:  # noqa: N802
        if not self.does.gpu:
            self.complain(logger, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return Thing(
            self,
            "Builder",
            create_network=self._network,
            create_builder_config=self._config,
            build_serialized_network=lambda network, config: self._build(logger, network, config),
            num_DLA_cores=self.does.dla_cores,
        )

    def _network(self, flags: int) -> Thing:
        kinds = self.NetworkDefinitionCreationFlag  # type: ignore[attr-defined]
        self.does.network_flags = {kind.name for kind in kinds if flags >> int(kind) & 1}
        return Thing(self, "INetworkDefinition")

    def OnnxParser(self, network: Thing, logger: Any) -> Thing:  # noqa: N802
        def parse(graph: bytes) -> bool:
            if self.does.unsupported is None:
                fill(network, onnx.load_from_string(graph))
            return self.does.unsupported is None

        def fill(network: Thing, model: onnx.ModelProto) -> None:
            types, layer = self.DataType, self.LayerType  # type: ignore[attr-defined]
            kinds = {10: types.HALF, 1: types.FLOAT, 2: types.UINT8}
            weights = {t.name: kinds.get(t.data_type) for t in model.graph.initializer}

            def tensor(info: onnx.ValueInfoProto) -> Thing:
                shape = [d.dim_value for d in info.type.tensor_type.shape.dim]
                return Thing(self, "ITensor", name=info.name, dtype=kinds[info.type.tensor_type.elem_type], shape=shape)

            layers = []
            for node in model.graph.node:
                convolution = node.op_type == "Conv"
                dtype = weights.get(node.input[1], types.FLOAT) if convolution else types.FLOAT
                data = Thing(self, "ITensor", dtype=dtype)
                kind = layer.CONVOLUTION if convolution else layer.ELEMENTWISE
                layers.append(
                    SimpleNamespace(
                        name=node.name,
                        type=kind,
                        integer=convolution and node.input[1] not in weights,
                        get_input=lambda i, d=data: d,
                        get_output=lambda i, d=data: d,
                    )
                )
            inputs, outputs = [tensor(i) for i in model.graph.input], [tensor(o) for o in model.graph.output]
            network.num_layers, network.get_layer = len(layers), layers.__getitem__
            network.num_inputs, network.get_input = len(inputs), inputs.__getitem__
            network.num_outputs, network.get_output = len(outputs), outputs.__getitem__

        error = Thing(
            self,
            "ParserError",
            code=lambda: self.ErrorCode.UNSUPPORTED_NODE,  # type: ignore[attr-defined]
            desc=lambda: "No importer",
            node=lambda: self.does.unsupported,
            node_name=lambda: "feature_fusion.high.conv",
            node_operator=lambda: "Conv",
        )
        return Thing(self, "OnnxParser", parse=parse, num_errors=1, get_error=lambda index: error)

    def _config(self) -> Thing:
        does = self.does

        def create(data: bytes) -> Any:
            return Thing(self, "ITimingCache", serialize=lambda: Memory(data + b"timed "))

        def use(cache: Any, ignore_mismatch: bool) -> bool:
            does.ignored_mismatch |= ignore_mismatch
            config.get_timing_cache = lambda: cache
            return not does.foreign_timing_cache or bytes(cache.serialize()) == b"timed "

        config = Thing(
            self,
            "IBuilderConfig",
            set_flag=lambda flag: does.builder_flags.add(flag.name),
            clear_flag=lambda flag: does.builder_flags.discard(flag.name),
            set_memory_pool_limit=lambda pool, size: does.pools.update({pool.name: size}),
            create_timing_cache=create,
            set_timing_cache=use,
        )
        config.set_tactic_sources = lambda mask: setattr(config, "get_tactic_sources", lambda: mask)
        does.config = config
        return config

    def _build(self, logger: Any, network: Any, config: Any) -> Memory | None:
        if self.does.complaint:
            self.complain(logger, self.does.complaint)
            return None
        if self.does.said:
            self.complain(logger, self.does.said)
        strong = "STRONGLY_TYPED" in self.does.network_flags or self.split_types
        layers = []
        for index in range(network.num_layers):
            layer = network.get_layer(index)
            half = layer.get_input(0).dtype.name == "HALF" if strong else "FP16" in self.does.builder_flags
            integer = (
                layer.integer and (strong or "INT8" in self.does.builder_flags) and not self.does.ignores_quantisers
            )
            word = "Int8" if integer else "Half" if half and layer.name not in self.does.stubborn else "Float"
            data = {"DataType": word} if self.split_types else {"Format/Datatype": word}
            entry = {"Name": layer.name, "Metadata": f"[ONNX Layer: {layer.name}]\x1e[ONNX Layer: {layer.name}.relu]"}
            entry |= {"LayerType": "CaskConvolution" if layer.type.name == "CONVOLUTION" else "kgen"}
            if layer.name in self.does.opaque:
                entry["LayerType"] = "Myelin"
            layers.append(entry | {"Inputs": [data], "Outputs": [data]})
        ends = [(network.get_input(0), 0), (network.get_output(0), 1)]
        tensors = [[t.name, t.dtype.name, t.shape, mode] for t, mode in ends]
        return Memory(json.dumps({"Layers": layers, "tensors": tensors}).encode())

    def Runtime(self, logger: Any) -> Thing:  # noqa: N802
        def load(plan: bytes) -> Thing:
            self.does.host_code_allowed = getattr(runtime, "engine_host_code_allowed", False)
            self.does.opened_on = getattr(runtime, "DLA_core", None)
            content = json.loads(plan)
            by_name = {name: (dtype, shape, mode) for name, dtype, shape, mode in content["tensors"]}
            # 8.6.0 on a GPU does not escape the separators of its metadata, as JSON wants it.
            words = json.dumps({"Layers": content["Layers"]}).replace("\\u001e", "\x1e")
            inspector = Thing(self, "EngineInspector", get_engine_information=lambda kind: words)
            modes = self.TensorIOMode  # type: ignore[attr-defined]
            return Thing(
                self,
                "ICudaEngine",
                create_engine_inspector=lambda: inspector,
                device_memory_size=5_000_000,
                device_memory_size_v2=6_000_000,
                num_io_tensors=len(by_name),
                get_tensor_name=lambda index: list(by_name)[index],
                get_tensor_dtype=lambda name: self.DataType[by_name[name][0]],  # type: ignore[attr-defined]
                get_tensor_shape=lambda name: by_name[name][1],
                get_tensor_mode=lambda name: modes.OUTPUT if by_name[name][2] else modes.INPUT,
            )

        runtime = Thing(self, "Runtime", deserialize_cuda_engine=load)
        return runtime


@pytest.fixture
def surface(shared: Path) -> Callable[[str], dict[str, Any]]:
    """Recorded names of a version: {"names": {class: [member, ...]}, "version": ...}."""
    return lambda version: json.loads((shared / "facts" / "surfaces" / f"{version}.json").read_text())


@pytest.fixture
def board(surface: Callable[[str], dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Behaviour]:
    """Make this machine an Orin with a version of the classic TensorRT."""

    def make(version: str, **behaviour: Any) -> Behaviour:
        does = Behaviour(**behaviour)
        monkeypatch.setitem(sys.modules, "tensorrt", StandIn(surface(version), does))  # type: ignore[arg-type]
        for user in ("fastscnn.export.tensorrt.engine", "fastscnn.runtime.artifacts.engine_fit"):
            monkeypatch.setattr(f"{user}.gpus", lambda: [ORIN])
        return does

    return make
