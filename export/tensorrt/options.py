"""What a build can be asked for, checked when it is made and again when TensorRT's version is known."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ...runtime.artifacts.gpu import Gpu
from ...runtime.artifacts.tensorrt_binding import FLAVOURS, Binding
from ...runtime.commands.command import did_you_mean
from ...runtime.errors import DeviceError, UsageError
from .capabilities import RTX_DEFAULT_TARGETS, Capabilities, refused_target

PRECISIONS = ("fp16", "fp32")
_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
SMALLEST_WORKSPACE = 1 << 20
OPTIMIZATION_LEVELS = range(6)


@dataclass(frozen=True)
class BuildOptions:
    """How to build.

    Raises:
        UsageError: a value that no TensorRT takes.
    """

    precision: str = "fp16"  # of all that is not quantised; "fp32" switches TF32 off too
    flavour: str | None = None  # "tensorrt" or "rtx"; None takes what is installed, TensorRT first
    workspace: int = 1 << 30  # bytes that tactics may use; less where memory runs out
    timing_cache: Path | None = None  # read and written: later builds skip what was timed
    dla: int | None = None  # a DLA core; what it cannot compute goes to the GPU
    head_in_engine: bool = False  # keep Resize + ArgMax or soft-max inside
    targets: tuple[str, ...] = ()  # RTX: compute capabilities such as "sm86"; none: this GPU's, or all from sm80 up
    version_compatible: bool = False  # for later versions of the same major one
    opt_level: int | None = None  # 0 builds fastest, 5 searches longest; None: TensorRT's default
    allow_fp32_layers: bool = False  # accept convolutions in FP32 in an FP16 engine

    def __post_init__(self) -> None:
        for name, value, known in (("precision", self.precision, PRECISIONS), ("flavour", self.flavour, FLAVOURS)):
            if value is not None and value not in known:
                raise UsageError(
                    f"{name} {value!r} is unknown; expected one of {', '.join(known)}.{did_you_mean(value, known)}"
                )
        if self.workspace < SMALLEST_WORKSPACE:
            raise UsageError(f"a workspace of {self.workspace} bytes is too small; expected at least 1MiB")
        if self.opt_level is not None and self.opt_level not in OPTIMIZATION_LEVELS:
            raise UsageError(f"optimisation level {self.opt_level}; expected 0 to {OPTIMIZATION_LEVELS[-1]}")
        if self.dla is not None and self.dla < 0:
            raise UsageError(f"DLA core {self.dla}; expected 0 or 1")
        if self.dla is not None and self.precision == "fp32":
            raise UsageError("the DLA does not compute in FP32; expected --precision fp16")
        for target in self.targets:
            if not re.fullmatch(r"sm\d{2,3}", target):
                raise UsageError(f"target {target!r} is no compute capability; expected one such as sm86")


def size(text: str) -> int:
    """`1GiB`, `512MiB` or a number of bytes → bytes.

    Raises:
        UsageError: anything else.
    """
    match = re.fullmatch(r"(\d{1,15})\s*(|KiB|MiB|GiB)", text)
    if not match:
        raise UsageError(f"{text!r} is not a size; expected bytes, or a number with KiB, MiB or GiB, such as 1GiB")
    return int(match[1]) * _UNITS[match[2]]


def check_supported(options: BuildOptions, binding: Binding, can: Capabilities) -> None:
    """Refuse what the installed TensorRT would ignore or has not.

    Raises:
        UsageError: names the option.
    """
    asked = {
        "dla": options.dla is not None,
        "timing_cache": options.timing_cache is not None,
        "version_compatible": options.version_compatible,
        "optimization_level": options.opt_level is not None,
    }
    flags = {"optimization_level": "--opt-level"}
    for capability, wanted in asked.items():
        if wanted and not getattr(can, capability):
            flag = flags.get(capability, "--" + capability.replace("_", "-"))
            raise UsageError(f"{flag} has no effect with {binding.name}; leave it out")
    if options.targets and not can.cross_build:
        raise UsageError(
            f"--target {','.join(options.targets)} was asked for, but {binding.name} builds for the GPU that it runs on; "
            "leave --target out and build on the device, or build with --flavour rtx for RTX cards"
        )


def targets(options: BuildOptions, can: Capabilities, gpu: Gpu | None) -> tuple[str, ...]:
    """The compute capabilities to build for, in order.

    Raises:
        DeviceError: one that the installed TensorRT does not build for, or no GPU where one is needed.
    """
    if not can.cross_build:
        return (gpu.target,) if gpu else ()
    chosen = options.targets or ((gpu.target,) if gpu else RTX_DEFAULT_TARGETS)
    for target in chosen:
        if refusal := refused_target(target):
            raise DeviceError(f"{refusal}. Choose with --target")
    if "sm75" in chosen and options.precision == "fp32":
        raise DeviceError(
            "sm75 (Turing) has only FP16 matrix products in TensorRT for RTX, and the pyramid pooling is one; "
            "build it with --precision fp16"
        )
    return tuple(sorted(set(chosen), key=lambda target: int(target[2:])))
