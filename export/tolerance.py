"""How far two computations of the same network may lie apart."""

from __future__ import annotations

from ..runtime.agreement import REDUCED

TOLERANCE = {"fp32": 1e-4, "fp16": REDUCED}  # largest difference of logits, as a share of their range
