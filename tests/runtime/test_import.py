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


def test_the_library_itself_is_silent() -> None:
    code = (
        "import json, logging, fastscnn.runtime\n"
        "logging.getLogger('fastscnn.runtime.backends.choice').warning('for those who listen')\n"
        "print(json.dumps({'handlers': [type(h).__name__ for h in logging.getLogger('fastscnn').handlers]}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert json.loads(done.stdout) == {"handlers": ["NullHandler"]}
    assert done.stderr == ""
