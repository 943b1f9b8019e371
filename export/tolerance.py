"""How far two computations of the same network may lie apart."""

from __future__ import annotations

from ..runtime.backends.agreement import QUANTISED, REDUCED

TOLERANCE = {
    "fp32": 1e-4,
    "fp16": REDUCED,
    "int8": QUANTISED,
}  # largest difference of logits, as a share of their range
