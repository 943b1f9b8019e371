"""How far two computations of the same network may lie apart."""

from __future__ import annotations

# Largest difference of logits, as a share of their range. That of INT8 holds for single logits, whose mean is thirty times
# nearer; rounding tells engines apart, and fastscnn-quantize counts the labels.
TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2, "int8": 0.2}
