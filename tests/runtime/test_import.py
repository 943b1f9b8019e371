"""A robot's install: no torch, no onnx, quick to import. Asked of a fresh interpreter."""

import json
import subprocess
import sys

import pytest


def fresh(code: str) -> dict[str, object]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    return dict(json.loads(done.stdout))


def test_runtime_imports_nothing_heavy() -> None:
    found = fresh(
        "import json, sys, fastscnn.runtime, fastscnn.runtime.segment\n"
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
    import ast
    from pathlib import Path

    root = Path(__file__).parents[2]
    floors = ["runtime", "model", "export", "benchmarks"]
    for level, floor in enumerate(floors):
        for path in (root / floor).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and node.level >= 2:
                    target = (node.module or "").split(".")[0]
                    assert target not in floors[level + 1 :], f"{path}: imports from the floor above, {target}"
                if isinstance(node, (ast.Import, ast.ImportFrom)):
                    names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                    assert not (
                        floor == "runtime" and any(n.split(".")[0] in ("torch", "onnx", "rclpy") for n in names)
                    ), path
