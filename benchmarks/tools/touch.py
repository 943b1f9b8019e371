"""Runs where the tools are installed and nothing else: `touch.py TOOL SOURCE TARGET …` lets a tool change models.

What fails is told on stderr, and leaves no target.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx


def shapes(model: Any) -> Any:
    return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


def converted(model: Any, opset: int) -> Any:
    return onnx.version_converter.convert_version(model, opset)


def slim(model: Any) -> Any:
    import onnxslim

    return onnxslim.slim(model)


def simplified(model: Any) -> Any:
    import onnxsim

    changed, sound = onnxsim.simplify(model)
    if not sound:
        raise SystemExit("onnxsim says that its result is not the original's")
    return changed


def optimised(model: Any, every: bool) -> Any:
    import onnxoptimizer

    passes = onnxoptimizer.get_fuse_and_elimination_passes() if every else None
    return onnxoptimizer.optimize(model, passes)


def scripted(model: Any) -> Any:
    from onnxscript import optimizer

    return optimizer.optimize(model)


def merged(model: Any) -> Any:
    """Equal constants and equal nodes made one."""
    import onnx_ir
    from onnx_ir.passes import common

    graph = onnx_ir.from_proto(model)
    common.DeduplicateInitializersPass()(graph)
    common.CommonSubexpressionEliminationPass()(graph)
    return onnx_ir.to_proto(graph)


def surgeon(source: str, target: str, *options: str) -> None:
    """Polygraphy's command; it writes by itself."""
    from polygraphy.tools import main

    sys.argv = ["polygraphy", "surgeon", "sanitize", source, "-o", target, *options]
    if code := main():
        raise SystemExit(code)


def saved(source: str, target: str, level: str) -> None:
    """What ONNX Runtime runs, saved."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = target
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


CHANGES: dict[str, Callable[[Any], Any]] = {
    "onnx shape inference": shapes,
    "onnx version_converter to 18": lambda model: converted(model, 18),
    "onnx version_converter to 21": lambda model: converted(model, 21),
    "onnxslim": slim,
    "onnxsim": simplified,
    "onnxoptimizer": lambda model: optimised(model, False),
    "onnxoptimizer, every pass": lambda model: optimised(model, True),
    "onnxscript optimizer": scripted,
    "onnx_ir deduplication": merged,
}
WRITERS: dict[str, Callable[[str, str], None]] = {
    "Polygraphy sanitize": surgeon,
    "Polygraphy sanitize --fold-constants": lambda source, target: surgeon(source, target, "--fold-constants"),
    "ONNX Runtime, saved, basic": lambda source, target: saved(source, target, "BASIC"),
    "ONNX Runtime, saved, all": lambda source, target: saved(source, target, "ALL"),
}
TOOLS = (*CHANGES, *WRITERS)


def touch(tool: str, source: str, target: str) -> None:
    if tool in WRITERS:
        WRITERS[tool](source, target)
    else:
        onnx.save(CHANGES[tool](onnx.load(source)), target)


def main(tool: str, *paths: str) -> None:
    for source, target in zip(paths[::2], paths[1::2], strict=True):
        try:
            touch(tool, source, target)
        except (Exception, SystemExit) as error:  # each tool has its own
            Path(target).unlink(missing_ok=True)
            print(f"{tool} on {source}: {type(error).__name__}: {error}", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
