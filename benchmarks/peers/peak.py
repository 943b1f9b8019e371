"""The peak of this machine's arithmetic: a matrix product of as many multiply-adds as the network has."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ...runtime import privacy

_HINTS = {"fp32": "f32", "bf16": "bf16"}
_SIDE = 1024  # of the matrix that stays, so that arithmetic counts and not memory
_ROWS = (64, 2048)  # of the one that changes
# A peak is not what a machine gives while it does something else.
_TURNS, _SECONDS, _REST = 4, 0.4, 0.3
_LEAST = 5  # runs in a turn


def product(precision: str, multiply_adds: int, threads: int) -> float | None:
    """Milliseconds that so many multiply-adds take in one product of matrices, the best of several runs on OpenVINO.

    None where OpenVINO or the precision is not there.
    """
    try:
        openvino = privacy.engine("openvino")
        from openvino import opset13 as operations
    except ImportError:
        return None
    core = openvino.Core()
    if precision not in _HINTS or (
        precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    ):
        return None
    rows = int(np.clip(multiply_adds // _SIDE**2, *_ROWS))
    random = np.random.default_rng(0)
    given = operations.parameter([rows, _SIDE], np.float32)
    kept = operations.constant(random.standard_normal((_SIDE, _SIDE), np.float32))
    graph = openvino.Model([operations.matmul(given, kept, False, False)], [given], "product")
    options: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
    }
    times: list[float] = []
    for _ in range(_TURNS):  # each with other places in memory, which alone make a third
        request = core.compile_model(graph, "CPU", options).create_infer_request()
        values = random.standard_normal((rows, _SIDE), np.float32)
        began, runs = time.perf_counter(), 0
        while runs < _LEAST or time.perf_counter() - began < _SECONDS:
            started = time.perf_counter()
            request.infer([values], share_inputs=True, share_outputs=True)
            times.append((time.perf_counter() - started) * 1e3)
            runs += 1
        time.sleep(_REST)
    return min(times) * multiply_adds / (rows * _SIDE**2)
