"""Let a frame's bytes stay where they lie: OpenVINO keeps channels innermost, as cameras give them.

The exporter's graph moves the channels outward, subtracts their means and then convolves. OpenVINO's convolutions want the channels
innermost, so that it moved a whole frame twice. With the means subtracted first, the two moves meet and vanish.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_MEAN = "input.mean"  # the exporter's name of the subtraction
_OUTWARD = [0, 3, 1, 2]


def prepare(model: Any) -> bool:
    """Subtract the means before the move, in place; gives whether the graph begins so. The numbers stay the same."""
    from openvino import opset13

    for node in model.get_ordered_ops():
        if node.get_friendly_name() != _MEAN or node.get_type_name() != "Subtract":
            continue
        moved, means = (node.input(port).get_source_output().get_node() for port in (0, 1))
        if moved.get_type_name() != "Transpose" or means.get_type_name() != "Constant" or means.data.ndim != 4:
            return False
        order = moved.input(1).get_source_output().get_node()
        if order.get_type_name() != "Constant" or order.data.ravel().tolist() != _OUTWARD:
            return False
        inward = opset13.constant(np.ascontiguousarray(means.data.transpose(0, 2, 3, 1)))
        subtracted = opset13.subtract(moved.input(0).get_source_output(), inward)
        subtracted.set_friendly_name(_MEAN)
        outward = opset13.transpose(subtracted, opset13.constant(np.array(_OUTWARD, np.int64)))
        for target in node.output(0).get_target_inputs():
            target.replace_source_output(outward.output(0))
        return True
    return False
