"""What each TensorRT can do: every difference between flavours and versions that this project knows, in one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...runtime import install
from ...runtime.artifacts.tensorrt_binding import NAMES, Binding, version_numbers
from ...runtime.errors import DeviceError

OLDEST, BEYOND = (8, 5), (12,)  # of the classic flavour: from, and before
RTX_MAJOR = 1

# Capability → since which version of the classic flavour, before which, whether RTX has it, and the names of the Python
# binding that it stands for, all of which are there exactly where the capability is; RTX keeps some that do nothing there.
_TABLE: Mapping[str, tuple[tuple[int, ...], tuple[int, ...], bool, tuple[str, ...]]] = {
    "explicit_batch_flag": (OLDEST, (11,), False, ("NetworkDefinitionCreationFlag.EXPLICIT_BATCH",)),
    "strong_typing": ((9, 3), BEYOND, True, ("NetworkDefinitionCreationFlag.STRONGLY_TYPED",)),
    "fp16_flag": (OLDEST, (11,), False, ("BuilderFlag.FP16",)),
    "library_tactics": (OLDEST, (11,), False, ("TacticSource.CUBLAS", "TacticSource.CUBLAS_LT", "TacticSource.CUDNN")),
    "progress_monitor": ((10, 3), BEYOND, True, ("IProgressMonitor.step_complete", "IBuilderConfig.progress_monitor")),
    "parser_names_nodes": ((10, 3), BEYOND, True, ("ParserError.node_name", "ParserError.node_operator")),
    "memory_v2": ((10, 3), BEYOND, True, ("ICudaEngine.device_memory_size_v2",)),
    "optimization_level": ((8, 6), BEYOND, True, ("IBuilderConfig.builder_optimization_level",)),
    "version_compatible": ((8, 6), BEYOND, False, ("BuilderFlag.VERSION_COMPATIBLE",)),
    "timing_cache": (OLDEST, BEYOND, False, ("IBuilderConfig.create_timing_cache", "IBuilderConfig.set_timing_cache")),
    "dla": (OLDEST, BEYOND, False, ("IBuilderConfig.DLA_core", "BuilderFlag.GPU_FALLBACK", "Builder.num_DLA_cores")),
    "cross_build": (BEYOND, BEYOND, True, ("IBuilderConfig.set_compute_capability", "ComputeCapability.SM86")),
}
NAMES_OF = {capability: row[3] for capability, row in _TABLE.items()}
IGNORED_BY_RTX = ("version_compatible", "timing_cache", "dla")  # accepted without effect, so refused here

RTX_TARGETS = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")
RTX_DEFAULT_TARGETS = RTX_TARGETS[1:]  # one plan serves them all; sm75 alone makes it some 75 times as large
_NOT_RTX = {
    "sm72": "Xavier has the classic TensorRT of JetPack 5",
    "sm87": "Orin has the classic TensorRT of JetPack",
    "sm90": "Hopper is no RTX card; use the classic TensorRT",
    "sm100": "data-centre Blackwell is no RTX card; use the classic TensorRT",
    "sm103": "data-centre Blackwell is no RTX card; use the classic TensorRT",
    "sm101": "Thor has the classic TensorRT of JetPack 7",
    "sm110": "Thor has the classic TensorRT of JetPack 7",
}


@dataclass(frozen=True)
class Capabilities:
    """Of one installed TensorRT."""

    explicit_batch_flag: bool  # networks must be asked to have the batch as a dimension
    strong_typing: bool  # the graph's types decide the precision
    fp16_flag: bool  # the builder may lower the precision where it likes
    library_tactics: bool  # cuBLAS, cuBLASLt and cuDNN can be switched off
    progress_monitor: bool  # calls back during a build, and can end it
    parser_names_nodes: bool  # errors tell the node's name, not only its number
    memory_v2: bool  # an engine tells its memory under the newer name
    optimization_level: bool
    version_compatible: bool
    timing_cache: bool
    dla: bool
    cross_build: bool  # for GPUs that are not there, on a machine without one

    @property
    def dla_takes_types(self) -> bool:
        """Whether the DLA takes strongly typed networks: since there is no other way to ask for FP16."""
        return self.strong_typing and not self.fp16_flag


def capabilities(binding: Binding) -> Capabilities:
    """Look the installed version up.

    Raises:
        DeviceError: a version that this project does not know.
    """
    version = version_numbers(binding.version)
    if binding.flavour == "rtx":
        if version[0] != RTX_MAJOR:
            raise DeviceError(
                f"{binding.name} is unknown here; expected {RTX_MAJOR}.x. Install it with: {install.command('rtx')}"
            )
        return Capabilities(**{name: rtx for name, (_, _, rtx, _) in _TABLE.items()})
    if not OLDEST <= version < BEYOND:
        raise DeviceError(
            f"{binding.name} is {'too old' if version < OLDEST else 'newer than this program'}; expected "
            f"{'.'.join(map(str, OLDEST))} to {BEYOND[0] - 1}.x. "
            + ("JetPack 5 brings 8.5; update the board" if version < OLDEST else "Install: pip install 'tensorrt<12'")
        )
    return Capabilities(**{name: since <= version < before for name, (since, before, _, _) in _TABLE.items()})


def refused_target(target: str) -> str | None:
    """Why TensorRT for RTX does not build for a target, or None where it does."""
    if target in RTX_TARGETS:
        return None
    reason = _NOT_RTX.get(target, f"it knows {', '.join(RTX_TARGETS)}")
    return f"{NAMES['rtx']} does not build for {target}: {reason}"
