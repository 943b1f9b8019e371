"""ONNX bytes → plan, through whichever TensorRT is installed: network, parser, configuration, build, reading back."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...runtime.artifacts.tensorrt_binding import Binding
from ...runtime.backends.tensorrt.log import Gathered, gathered, logger
from ...runtime.errors import DeviceError
from . import explain, progress, readback
from .capabilities import Capabilities
from .options import BuildOptions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    data: bytes
    found: readback.Readback
    timing_cache: bytes | None


@dataclass(frozen=True)
class EngineBuilder:
    """One build.

    Args:
        targets: compute capabilities, for a TensorRT that builds for GPUs which are not there.
        opens_here: whether this machine's GPU can open the result and be asked about it.
        timing_cache: what an earlier build timed.
        quantised: whether the graph has quantisers.
    """

    binding: Binding
    can: Capabilities
    options: BuildOptions
    targets: tuple[str, ...]
    opens_here: bool
    progress: progress.Progress
    timing_cache: bytes = b""
    quantised: bool = False

    @property
    def strong(self) -> bool:
        """Whether the graph's types decide."""
        return strongly_typed(self.options, self.can)

    def run(self, graph: bytes, nodes: Sequence[tuple[str, str]]) -> Plan:
        """Build. TensorRT lets other threads run meanwhile.

        Args:
            graph: ONNX, FP16 where types decide and FP16 is wanted.
            nodes: name and operator of the graph's nodes, for versions that tell only their number.

        Raises:
            DeviceError: no GPU where one is needed, or a graph that this TensorRT does not read.
            BuildError: memory or tactics ran out.
        """
        with gathered() as said:
            self.progress.phase("starting TensorRT")
            builder = self._builder(said)
            network = builder.create_network(self._network_flags())
            self.progress.phase("reading the graph")
            self._parse(network, graph, nodes)
            types = readback.from_network(network, self.binding.module)
            config = self._config(builder)
            cache = self._timing_cache(config)
            self.progress.phase("building the engine")
            built = builder.build_serialized_network(network, config)
            if built is None:
                raise explain.failure("building the engine", said.errors, self.binding)
            plan = bytes(built)
            found = types
            if self.opens_here:
                self.progress.phase("reading the engine back")
                found = self._ask(plan, types, said)
            return Plan(plan, found, bytes(config.get_timing_cache().serialize()) if cache else None)

    def _builder(self, said: Gathered) -> Any:
        module = self.binding.module
        try:
            return module.Builder(logger(module))
        except (TypeError, RuntimeError) as error:  # the factory gave a null pointer: no driver, no GPU
            raise explain.no_builder(self.binding, said.errors, str(error)) from None

    def _network_flags(self) -> int:
        flag = self.binding.module.NetworkDefinitionCreationFlag
        flags = 0
        if self.can.explicit_batch_flag:
            flags |= 1 << int(flag.EXPLICIT_BATCH)
        if self.strong:
            flags |= 1 << int(flag.STRONGLY_TYPED)
        return flags

    def _parse(self, network: Any, graph: bytes, nodes: Sequence[tuple[str, str]]) -> None:
        module = self.binding.module
        parser = module.OnnxParser(network, logger(module))
        if not parser.parse(graph):
            raise explain.unparsed(parser, nodes, self.binding, self.can)
        if not self.strong and self.options.precision == "fp16":
            for index in range(network.num_outputs):
                tensor = network.get_output(index)
                if tensor.name == "logits":  # half the bytes for the decode to read, as in strongly typed engines
                    tensor.dtype = module.DataType.HALF

    def _config(self, builder: Any) -> Any:
        module, options, can = self.binding.module, self.options, self.can
        config = builder.create_builder_config()
        config.profiling_verbosity = module.ProfilingVerbosity.DETAILED
        config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, options.workspace)
        if options.precision == "fp32":
            config.clear_flag(module.BuilderFlag.TF32)  # on by default, with 10 bits of mantissa
        elif not self.strong:
            config.set_flag(module.BuilderFlag.FP16)
        if self.quantised and not self.strong:
            config.set_flag(module.BuilderFlag.INT8)
        if can.library_tactics:
            # Without cuBLAS, cuBLASLt and cuDNN: this network needs none, and they cost a board hundreds of MB.
            source = module.TacticSource
            config.set_tactic_sources(1 << int(source.EDGE_MASK_CONVOLUTIONS) | 1 << int(source.JIT_CONVOLUTIONS))
        if options.opt_level is not None:
            config.builder_optimization_level = options.opt_level
        if options.version_compatible:
            config.set_flag(module.BuilderFlag.VERSION_COMPATIBLE)
        if can.cross_build:
            config.num_compute_capabilities = len(self.targets)
            for index, target in enumerate(self.targets):
                config.set_compute_capability(getattr(module.ComputeCapability, target.upper()), index)
        if options.dla is not None:
            self._use_dla(builder, config, options.dla)
        if can.progress_monitor:
            config.progress_monitor = progress.monitor(module, self.progress)
        return config

    def _use_dla(self, builder: Any, config: Any, core: int) -> None:
        module, cores = self.binding.module, int(builder.num_DLA_cores)
        if core >= cores:
            raise DeviceError(
                f"DLA core {core} was asked for and {self.binding.name} finds {cores} on this device; only Xavier and Orin have "
                "them, and not every version drives them. Build without --dla"
            )
        config.default_device_type = module.DeviceType.DLA
        config.DLA_core = core
        config.set_flag(module.BuilderFlag.GPU_FALLBACK)

    def _timing_cache(self, config: Any) -> bool:
        if self.options.timing_cache is None:
            return False
        cache = config.create_timing_cache(self.timing_cache)
        if not cache or not config.set_timing_cache(cache, False):
            log.warning(
                "%s is of another device or TensorRT version; timing anew and replacing it", self.options.timing_cache
            )
            config.set_timing_cache(config.create_timing_cache(b""), False)
        return True

    def _ask(self, plan: bytes, types: readback.Readback, said: Gathered) -> readback.Readback:
        module = self.binding.module
        runtime = module.Runtime(logger(module))
        if self.options.version_compatible:
            runtime.engine_host_code_allowed = True  # such plans carry a small runtime; this one was built a moment ago
        if self.options.dla is not None:
            runtime.DLA_core = self.options.dla
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise explain.failure("opening the engine that it built", said.errors, self.binding)
        binding_types = self.strong or self.options.precision == "fp32"  # without FP16 and TF32 nothing may be lowered
        return readback.from_engine(engine, module, self.can, types, binding_types)


def strongly_typed(options: BuildOptions, can: Capabilities) -> bool:
    return can.strong_typing if options.dla is None else can.dla_takes_types
