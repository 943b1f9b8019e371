"""Compile the runtime's CUDA kernels for GPUs that need not be there: `python -m fastscnn.export.kernels`.

A cubin runs on its own architecture under a driver of the compiler's CUDA major version or a later one; so for an older
JetPack compile with that JetPack's CUDA.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ..runtime.artifacts.files import write_atomically
from ..runtime.backends.cores import usable_cores
from ..runtime.commands import command
from ..runtime.decode import kernels
from ..runtime.errors import DeviceError, UsageError
from .nvrtc import Nvrtc

COMPILERS = ("nvcc", "nvrtc")
_OPTIONS = ("-std=c++17", "-Xptxas=-v")


@dataclass(frozen=True)
class Target:
    """A GPU architecture."""

    arch: str  # as compilers call it
    devices: str
    cuda: str  # the first toolkit that knows it


TARGETS = {
    "sm75": Target("sm_75", "Turing: RTX 20, T4", "10.0"),
    "sm80": Target("sm_80", "Ampere: A100", "11.0"),
    "sm86": Target("sm_86", "Ampere: RTX 30, A10", "11.1"),
    "sm87": Target("sm_87", "Jetson Orin", "11.4"),
    "sm89": Target("sm_89", "Ada: RTX 40, L4", "11.8"),
    "sm90": Target("sm_90", "Hopper: H100, H200", "11.8"),
    "sm100": Target("sm_100", "Blackwell: B200", "12.8"),
    "sm110": Target("sm_110", "Jetson Thor", "13.0"),
    "sm120": Target("sm_120", "Blackwell: RTX 50", "12.8"),
}


@dataclass(frozen=True)
class Resources:
    """What one kernel takes of a multiprocessor, as the assembler reports it."""

    kernel: str
    registers: int  # a thread
    shared: int  # bytes a block
    stack: int  # bytes a thread, in device memory
    spilled: int  # bytes of instructions that store registers to the stack or load them back


@dataclass(frozen=True)
class Compiled:
    """The kernels as one module for one target."""

    target: str
    compiler: str
    cubin: bytes
    resources: tuple[Resources, ...]  # in the order of kernels.ENTRY_POINTS


def compile_kernels(targets: Sequence[str]) -> dict[str, bytes]:
    """Target names, such as "sm86" → cubins with every entry point of `runtime.kernels`.

    Raises:
        UsageError: a target that is not in TARGETS.
        DeviceError: neither nvcc nor NVRTC is there, or it does not know the target.
    """
    return {compiled.target: compiled.cubin for compiled in compile_all(targets)}


def compile_all(targets: Sequence[str], compiler: str | None = None) -> list[Compiled]:
    """As `compile_kernels`, with what each kernel takes. The compiler is "nvcc", "nvrtc", or None for the first there is.

    Raises:
        UsageError, DeviceError: as above.
    """
    for target in targets:
        if target not in TARGETS:
            raise UsageError(
                f"target {target!r} is unknown; expected one of {', '.join(TARGETS)}.{command.did_you_mean(target, list(TARGETS))}"
            )
    chosen = _compiler(compiler)
    with ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(chosen.build, targets))


class _Nvcc:
    def __init__(self, program: str) -> None:
        self._program = program
        done = subprocess.run([program, "--version"], capture_output=True, text=True)
        match = re.search(r"release [\d.]+, V([\d.]+)", done.stdout)
        if done.returncode or not match:
            raise DeviceError(
                f"{program} --version ends with {done.returncode} and {done.stderr.strip() or done.stdout.strip()!r}; "
                "expected NVIDIA's compiler and its version. Install the CUDA toolkit again, or take it off the PATH"
            )
        self.version = f"nvcc {match[1]}"

    def build(self, target: str) -> Compiled:
        with tempfile.TemporaryDirectory(prefix="fastscnn-kernels-") as folder:
            cubin = Path(folder, f"{target}.cubin")
            source = kernels.FOLDER / kernels.MAIN
            options = ["-cubin", f"-arch={TARGETS[target].arch}", *_OPTIONS]
            done = subprocess.run([self._program, *options, "-o", cubin, source], capture_output=True, text=True)
            if done.returncode:
                raise _refused(self.version, target, done.stdout + done.stderr)
            return Compiled(target, self.version, cubin.read_bytes(), resources(done.stdout + done.stderr))


class _Library:
    def __init__(self) -> None:
        self._nvrtc = Nvrtc()
        self.version = self._nvrtc.version

    def build(self, target: str) -> Compiled:
        try:
            cubin, log = self._nvrtc.compile(
                kernels.MAIN, kernels.texts(), [f"-arch={TARGETS[target].arch}", *_OPTIONS]
            )
        except DeviceError as error:
            raise _refused(self.version, target, str(error)) from None
        return Compiled(target, self.version, cubin, resources(log))


def _compiler(name: str | None) -> _Nvcc | _Library:
    if name not in (None, *COMPILERS):
        raise UsageError(f"compiler {name!r} is unknown; expected one of {', '.join(COMPILERS)}")
    program = _nvcc() if name != "nvrtc" else None
    if program:
        return _Nvcc(program)
    if name == "nvcc":
        raise DeviceError("nvcc is neither on the PATH nor in CUDA_HOME/bin; install the CUDA toolkit, or use NVRTC")
    try:
        return _Library()
    except DeviceError as error:
        raise (
            error
            if name
            else DeviceError(
                f"the CUDA kernels cannot be compiled: nvcc is neither on the PATH nor in CUDA_HOME/bin, and {error}"
            )
        ) from None


def _nvcc() -> str | None:
    places = [os.environ["PATH"]] if "PATH" in os.environ else []
    places += [str(Path(os.environ[name], "bin")) for name in ("CUDA_HOME", "CUDA_PATH") if name in os.environ]
    return shutil.which("nvcc", path=os.pathsep.join(places))


def _refused(version: str, target: str, log: str) -> DeviceError:
    lines = [line.strip() for line in log.splitlines() if re.search("error|fatal|invalid", line, re.IGNORECASE)]
    reason = (lines or log.strip().splitlines() or ["no reason given"])[0]
    return DeviceError(
        f"{version} does not compile the kernels for {TARGETS[target].arch} ({TARGETS[target].devices}): {reason}. "
        f"This target needs CUDA {TARGETS[target].cuda} or later"
    )


def resources(log: str) -> tuple[Resources, ...]:
    """Read ptxas's -v report.

    Raises:
        DeviceError: it does not tell of every entry point.
    """
    found: dict[str, Resources] = {}
    for part in re.split(r"Compiling entry function '", log)[1:]:
        name = part.split("'")[0]
        numbers = {
            key: int(match[1]) if (match := re.search(pattern, part)) else 0
            for key, pattern in (
                ("registers", r"Used (\d+) registers"),
                ("shared", r"(\d+) bytes smem"),
                ("stack", r"(\d+) bytes stack frame"),
                ("stores", r"(\d+) bytes spill stores"),
                ("loads", r"(\d+) bytes spill loads"),
            )
        }
        found[name] = Resources(
            name, numbers["registers"], numbers["shared"], numbers["stack"], numbers["stores"] + numbers["loads"]
        )
    missing = [name for name in kernels.ENTRY_POINTS if name not in found or not found[name].registers]
    if missing:
        raise DeviceError(
            f"the assembler reported nothing about {', '.join(missing)}; expected registers and spills of each kernel, as "
            "-Xptxas=-v gives them. Use another version of nvcc or NVRTC"
        )
    return tuple(found[name] for name in kernels.ENTRY_POINTS)


def as_text(compiled: Sequence[Compiled]) -> str:
    """A table: registers of each kernel on each target, then what must be nothing."""
    width = 34
    rows = [f"{'registers a thread':<{width}}" + "".join(f"{each.target:>7}" for each in compiled)]
    for index, name in enumerate(kernels.ENTRY_POINTS):
        rows.append(f"{name:<{width}}" + "".join(f"{each.resources[index].registers:>7}" for each in compiled))
    rows.append("")
    for title, field in (
        ("bytes spilled, of all kernels", "spilled"),
        ("bytes of stack", "stack"),
        ("bytes of shared memory", "shared"),
    ):
        totals = [sum(getattr(kernel, field) for kernel in each.resources) for each in compiled]
        rows.append(f"{title:<{width}}" + "".join(f"{total:>7}" for total in totals))
    rows.append(f"{'kB of cubin':<{width}}" + "".join(f"{len(each.cubin) / 1000:>7.0f}" for each in compiled))
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser(
        "python -m fastscnn.export.kernels",
        "Compile the CUDA kernels and tell what they take of a GPU; none is needed.",
    )
    parser.add_argument("--target", action="append", choices=TARGETS, help="repeat it for several; all without it")
    parser.add_argument("--compiler", choices=COMPILERS, help="nvcc where there is one, else NVRTC")
    parser.add_argument("--markdown", type=Path, metavar="F", help="write the table there, too")
    return command.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    command.expect_folder(options.markdown)
    compiled = compile_all(options.target or list(TARGETS), options.compiler)
    text = f"{compiled[0].compiler}; sources {kernels.digest()[:16]}\n\n{as_text(compiled)}"
    print(text)
    if options.markdown:
        made_by = " ".join(["python -m fastscnn.export.kernels", *sys.argv[1:]])
        page = f"# CUDA kernels: registers and spills\n\nMade by `{made_by}`.\n\n```text\n{text}\n```\n"
        write_atomically(options.markdown, page.encode())


if __name__ == "__main__":
    sys.exit(main())
