"""The wheel and the robot's install: built for real, in an environment of its own, without torch."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("runtime", "model", "export", "benchmarks")


BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_{kind}(sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.splitlines():
        if (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, source], check=True, timeout=300
    )
    return next(folder.glob("fastscnn-*.whl"))


def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "fastscnn/__init__.py" in names
    assert "fastscnn/py.typed" in names
    assert "fastscnn/runtime/decode/kernels/kernels.cu" in names
    assert "fastscnn/runtime/decode/kernels/portable.cuh" in names
    folders = {path.parent.relative_to(ROOT) for floor in FLOORS for path in (ROOT / floor).rglob("__init__.py")}
    expected = {
        f"fastscnn/{path.relative_to(ROOT)}" for folder in {Path(), *folders} for path in (ROOT / folder).glob("*.py")
    }
    assert {name for name in names if name.endswith(".py")} == expected
    assert not [name for name in names if not name.startswith(("fastscnn/", "fastscnn-"))]
    assert sum(name.startswith("fastscnn/runtime/decode/native/_decode.") for name in names) == (
        shutil.which("cc") is not None
    )
    assert wheel.name.split("-")[2:4] == ["cp310", "abi3"], "one for every Python"
    for data in (*(ROOT / "model/training/recipes").iterdir(), *(ROOT / "model/weights").iterdir()):
        assert f"fastscnn/{data.relative_to(ROOT)}" in names


def test_the_source_package_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """Of everything that the project is; built from it without what git knows."""
    source = wheel.parent / "source"
    build = BUILD.format(kind="sdist")
    done = subprocess.run([sys.executable, "-c", build, tmp_path], capture_output=True, text=True, cwd=source)
    assert done.returncode == 0, done.stderr
    with tarfile.open(tmp_path / done.stdout.splitlines()[-1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    packed = {
        name.removeprefix("fastscnn/") for name in zipfile.ZipFile(wheel).namelist() if name.startswith("fastscnn/")
    }
    assert {name for name in packed if "/_decode." not in name} <= names
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "runtime/decode/native").glob("*.[ch]")} <= names
    assert {"tests/test_docs.py", "docs/index.md", "examples/robot_loop.py", "constraints.txt", "Makefile"} <= names


def test_without_a_compiler_it_installs_and_numpy_decodes(wheel: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(wheel.parent / "source", source, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    done = subprocess.run(
        [sys.executable, "-c", BUILD.format(kind="wheel"), tmp_path],
        capture_output=True,
        text=True,
        cwd=source,
        env={**os.environ, "CC": "false"},
    )
    assert done.returncode == 0, done.stderr
    zipfile.ZipFile(tmp_path / done.stdout.splitlines()[-1]).extractall(tmp_path / "installed")
    code = "from fastscnn.runtime.decode.decoder import described; print(described())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
    )
    assert done.stdout == "NumPy, as the install found no C compiler\n", done.stderr


def test_robot_install_segments_without_torch(
    wheel: Path, exported: Callable[..., Path], oldest_python: str, tmp_path: Path
) -> None:
    subprocess.run([oldest_python, "-m", "venv", tmp_path / "robot"], check=True)
    python = tmp_path / "robot" / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-compile", f"{wheel}[cpu]"], check=True, timeout=500
    )
    code = (
        "import importlib.util, json, sys\n"
        "import numpy\n"
        "from fastscnn import Segmenter\n"
        "from fastscnn.model import Street\n"
        "from fastscnn.runtime.decode.decoder import described\n"
        "with Segmenter(sys.argv[1]) as segmenter:\n"
        "    labels = segmenter(Street(128, 256).frame(0)[0]).labels\n"
        "torch = importlib.util.find_spec('torch') is not None\n"
        "print(json.dumps({'shape': labels.shape, 'torch': torch, 'decode': described().partition(',')[0]}))"
    )
    done = subprocess.run([python, "-c", code, exported()], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    decode = "compiled" if shutil.which("cc") else "NumPy"
    assert json.loads(done.stdout) == {"shape": [128, 256], "torch": False, "decode": decode}

    picture = "import cv2; from fastscnn.model import Street; cv2.imwrite('street.png', Street(96, 160).frame(0)[0])"
    subprocess.run([python, "-c", picture], check=True, cwd=tmp_path)
    nowhere = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "absent")}
    done = subprocess.run(
        [python.with_name("fastscnn"), "segment", "street.png"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=nowhere,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "street-overlay.png").exists() and not (tmp_path / "absent").exists()

    done = subprocess.run(
        [python.with_name("fastscnn-export"), "--head", "cls", "--res", "64x64"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 4
    assert f"pip install '{wheel}[export]'" in done.stderr
    done = subprocess.run(
        [python.with_name("fastscnn-bench"), exported(), "--burn-in", "1", "--frames", "2"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [python.with_name("fastscnn-doctor"), "--json", exported()], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout
    assert {"runs on ONNX Runtime CPU"} == {
        finding["found"].partition(",")[0]
        for finding in json.loads(done.stdout)["findings"]
        if finding["name"] == "fit"
    }
