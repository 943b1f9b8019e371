"""How far two computations of the same network may lie apart."""

from __future__ import annotations

from ..runtime.backends.agreement import QUANTISED, REDUCED

TOLERANCE = {
    "fp32": 1e-4,
    "fp16": REDUCED,
    "int8": QUANTISED,
}  # largest difference of logits, as a share of their range
HEAD = 1e-5  # of probabilities, absolute, of the same logits: the head is float32 in every graph
# Relative rounding of float16, which ONNX Runtime's CPU may leave out between the network and the head.
HALF_ROUNDING = 2.0**-11
