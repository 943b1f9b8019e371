"""A robot's install: no torch, no onnx, quick to import. Asked of a fresh interpreter."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


def fresh(code: str) -> dict[str, object]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    return dict(json.loads(done.stdout))


def test_runtime_imports_nothing_heavy() -> None:
    found = fresh(
        "import json, sys, fastscnn.runtime, fastscnn.runtime.commands.segment\n"
        "print(json.dumps({m: m in sys.modules for m in ('torch', 'onnx', 'rclpy', 'onnxruntime', 'tensorrt', 'matplotlib')}))"
    )
    assert not any(found.values()), found


def test_benchmark_and_sample_street_need_no_torch() -> None:
    found = fresh(
        "import json, sys, fastscnn.benchmarks.bench, fastscnn.model\n"
        "print(json.dumps({m: m in sys.modules for m in ('torch', 'onnx')}))"
    )
    assert not any(found.values()), found


def test_runtime_imports_quickly() -> None:
    code = (
        "import json, time, numpy, cv2\n"
        "started = time.perf_counter()\n"
        "import fastscnn.runtime\n"
        "print(json.dumps({'seconds': time.perf_counter() - started}))"
    )
    assert min(fresh(code)["seconds"] for _ in range(5)) < 0.150  # type: ignore[type-var]


def test_segmenter_is_handed_on_by_the_package() -> None:
    found = fresh(
        "import json, sys, fastscnn\n"
        "before = 'cv2' in sys.modules\n"
        "print(json.dumps({'before': before, 'name': fastscnn.Segmenter.__module__}))"
    )
    assert found == {"before": False, "name": "fastscnn.runtime.segmenter"}
    with pytest.raises(AttributeError):
        _ = __import__("fastscnn").Nothing


def test_floors_import_only_downwards() -> None:
    """runtime ← model ← export ← benchmarks, read off the source."""
    root = Path(__file__).parents[2]
    floors = ["runtime", "model", "export", "benchmarks"]
    for level, floor in enumerate(floors):
        for path in (root / floor).rglob("*.py"):
            imported = set(imports(path, root))
            assert not imported & set(floors[level + 1 :]), f"{path} imports from a floor above"
            assert floor != "runtime" or not imported & {"torch", "onnx", "rclpy"}, path


def imports(path: Path, root: Path) -> Iterator[str]:
    """First names of what a file imports; floors of this project by their own name, however they are spelt."""
    inside = ["fastscnn", *path.relative_to(root).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(inside[: len(inside) - node.level + 1]) if node.level else ""
            names = [".".join(filter(None, (base, node.module, alias.name))) for alias in node.names]
        for name in names:
            parts = name.split(".")
            yield parts[1] if parts[0] == "fastscnn" and len(parts) > 1 else parts[0]


def test_the_library_itself_is_silent() -> None:
    code = (
        "import json, logging, fastscnn.runtime\n"
        "logging.getLogger('fastscnn.runtime.backends.choice').warning('for those who listen')\n"
        "print(json.dumps({'handlers': [type(h).__name__ for h in logging.getLogger('fastscnn').handlers]}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert json.loads(done.stdout) == {"handlers": ["NullHandler"]}
    assert done.stderr == ""
