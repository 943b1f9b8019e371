"""The kernels compiled for GPUs that are not there, by the real nvcc and the real NVRTC."""

import subprocess
import sys
from pathlib import Path

import pytest

from fastscnn.export import kernels as compiling
from fastscnn.export import nvrtc
from fastscnn.export.kernels import (
    COMPILERS,
    TARGETS,
    Compiled,
    Resources,
    as_text,
    compile_all,
    compile_kernels,
    resources,
)
from fastscnn.runtime import DeviceError, UsageError
from fastscnn.runtime.decode import kernels

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "benchmarks/results/kernels.md"
COMMAND = "python -m fastscnn.export.kernels --markdown benchmarks/results/kernels.md"
E_MACHINE = 190  # CUDA, in an ELF file's header


def compiled(compiler: str | None, targets: list[str]) -> list[Compiled]:
    try:
        return compile_all(targets, compiler)
    except DeviceError as error:
        if "compiles" in str(error) or "does not compile" in str(error):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def everywhere() -> list[Compiled]:
    return compiled(None, list(TARGETS))


def test_every_target_compiles_and_nothing_spills(everywhere: list[Compiled]) -> None:
    assert [each.target for each in everywhere] == [f"sm{n}" for n in (75, 80, 86, 87, 89, 90, 100, 110, 120)]
    for each in everywhere:
        assert tuple(kernel.kernel for kernel in each.resources) == kernels.ENTRY_POINTS
        for kernel in each.resources:
            assert (kernel.spilled, kernel.stack, kernel.shared) == (0, 0, 0), f"{each.target}: {kernel}"
            assert 16 <= kernel.registers <= 80, f"{each.target}: {kernel}"  # six blocks of 128 threads fit


def test_cubins_hold_every_entry_point_for_their_own_architecture(everywhere: list[Compiled]) -> None:
    for each in everywhere:
        assert each.cubin[:4] == b"\x7fELF"
        assert int.from_bytes(each.cubin[18:20], "little") == E_MACHINE
        for entry in kernels.ENTRY_POINTS:
            assert f".text.{entry}\0".encode() in each.cubin, (each.target, entry)
    assert len({each.cubin for each in everywhere}) == len(TARGETS)


def test_the_recorded_table_is_of_these_sources() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert f"Made by `{COMMAND}`." in text
    assert f"; sources {kernels.digest()[:16]}\n" in text, f"{PAGE.name} is of other sources; run {COMMAND}"


def test_the_recorded_table_is_what_its_compiler_reports(everywhere: list[Compiled]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    if f"\n{everywhere[0].compiler};" not in text:
        pytest.skip(f"{PAGE.name} was made by another compiler than {everywhere[0].compiler}")
    assert as_text(everywhere) in text, f"run {COMMAND}"


@pytest.mark.parametrize("compiler", COMPILERS)
def test_either_compiler_will_do(everywhere: list[Compiled], compiler: str) -> None:
    name = {"nvcc": "nvcc ", "nvrtc": "NVRTC "}[compiler]
    each = everywhere[-1]  # sm120, the one that spills first
    if not each.compiler.startswith(name):
        (each,) = compiled(compiler, [each.target])
    assert each.compiler.startswith(name)
    assert not sum(kernel.spilled for kernel in each.resources)
    assert f".text.{kernels.ENTRY_POINTS[0]}\0".encode() in each.cubin


def test_reports_of_spills_shared_memory_and_stack_are_read() -> None:
    part = (
        "ptxas info    : Compiling entry function '{}' for 'sm_86'\nptxas info    : Function properties for {}\n"
        "    8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads\n"
        "ptxas info    : Used 40 registers, used 1 barriers, 1024 bytes smem, 412 bytes cmem[0]\n"
    )
    names = kernels.ENTRY_POINTS
    log = "ptxas info    : 0 bytes gmem\n" + "".join(part.format(name, name) for name in reversed(names))
    assert resources(log) == tuple(Resources(name, 40, 1024, 8, 28) for name in names)
    with pytest.raises(DeviceError, match=f"nothing about {names[-1]};"):
        resources(log.replace(f"'{names[-1]}'", "'another'"))


def test_a_spill_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sources with too few registers allowed: were the report not read, the test above would prove nothing."""
    for name, text in kernels.texts().items():
        (tmp_path / name).write_text(text.replace("__launch_bounds__(128)", "__launch_bounds__(128, 16)"))
    monkeypatch.setattr(kernels, "FOLDER", tmp_path)
    (each,) = compiled("nvcc", ["sm80"])
    assert sum(kernel.spilled for kernel in each.resources) > 0


def test_a_fault_in_the_source_is_told_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / kernels.MAIN).write_text("int broken = ;\n")
    monkeypatch.setattr(kernels, "FOLDER", tmp_path)
    monkeypatch.setattr(kernels, "texts", lambda: {kernels.MAIN: "int broken = ;\n"})
    for compiler in COMPILERS:
        if compiler == "nvcc" and not compiling._nvcc():
            continue
        if compiler == "nvrtc" and not list(nvrtc._places()):
            continue
        with pytest.raises(
            DeviceError, match=r"does not compile the kernels for sm_90 .*kernels\.cu.*error.*CUDA 11\.8"
        ):
            compile_all(["sm90"], compiler)


def test_unknown_targets_and_compilers_are_refused() -> None:
    with pytest.raises(UsageError, match=r"target 'sm_86' is unknown; expected one of sm75, .* Did you mean 'sm86'"):
        compile_kernels(["sm_86"])
    with pytest.raises(UsageError, match="compiler 'gcc' is unknown"):
        compile_all(["sm86"], "gcc")


def test_without_a_compiler_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(nvrtc, "_places", lambda: iter([str(tmp_path / "libnvrtc.so.13")]))
    with pytest.raises(DeviceError, match=r"nvcc is neither.*libnvrtc\.so\.13.*pip install nvidia-cuda-nvrtc"):
        compile_kernels(["sm86"])
    monkeypatch.setattr(nvrtc, "_places", lambda: iter([]))
    with pytest.raises(DeviceError, match=r"nvcc is neither.*found no NVRTC library"):
        compile_kernels(["sm86"])


def test_nvcc_is_found_in_cuda_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "nvcc"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho gone wrong >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    with pytest.raises(DeviceError, match="nvcc --version ends with 3 and 'gone wrong'; expected NVIDIA's compiler"):
        compile_kernels(["sm86"])


def test_the_command_writes_its_table(everywhere: list[Compiled], tmp_path: Path) -> None:
    page = tmp_path / "kernels.md"
    arguments = ["--target", "sm87", "--markdown", str(page)]
    done = subprocess.run(
        [sys.executable, "-m", "fastscnn.export.kernels", *arguments], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert f"Made by `python -m fastscnn.export.kernels {' '.join(arguments)}`" in text
    assert kernels.digest()[:16] in text
    assert done.stdout.strip() in text
    assert as_text([each for each in everywhere if each.target == "sm87"]) in text
