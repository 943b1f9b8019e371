"""How far two computations of the same network may lie apart."""

from __future__ import annotations

TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2}  # largest difference of logits, as a share of their range
