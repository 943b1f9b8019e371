"""Let a frame's bytes stay where they lie: OpenVINO keeps channels innermost, as cameras give them.

The exporter's graph casts a frame's bytes, moves the channels outward, subtracts their means and then convolves. OpenVINO's convolutions
want the channels innermost, so that it moved a whole frame twice. With the means subtracted first, the two moves meet and vanish. Cast
and subtracted as rows of width times three numbers, not as pixels of three, they fill the processor's vectors.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_MEAN = "input.mean"  # the exporter's name of the subtraction
_OUTWARD = [0, 3, 1, 2]


def prepare(model: Any) -> bool:
    """Cast and subtract by rows, before the move, in place; gives whether the graph begins so. The numbers stay the same."""
    from openvino import opset13

    for node in model.get_ordered_ops():
        if node.get_friendly_name() != _MEAN or node.get_type_name() != "Subtract":
            continue
        moved, means = (node.input(port).get_source_output().get_node() for port in (0, 1))
        if moved.get_type_name() != "Transpose" or means.get_type_name() != "Constant":
            return False
        order = moved.input(1).get_source_output().get_node()
        if order.get_type_name() != "Constant" or order.data.ravel().tolist() != _OUTWARD:
            return False
        cast = moved.input(0).get_source_output().get_node()
        if cast.get_type_name() != "Convert":
            return False
        frame = cast.input(0).get_source_output()
        batch, height, width, channels = (int(n) for n in frame.get_shape())
        if means.data.shape != (1, channels, 1, 1):
            return False
        row = np.tile(means.data.reshape(1, 1, channels), width)
        rows = opset13.reshape(
            frame, opset13.constant(np.array([batch, height, row.size], np.int64)), special_zero=False
        )
        subtracted = opset13.subtract(opset13.convert(rows, cast.get_destination_type()), opset13.constant(row))
        subtracted.set_friendly_name(_MEAN)
        pixels = opset13.constant(np.array([batch, height, width, channels], np.int64))
        inward = opset13.reshape(subtracted, pixels, special_zero=False)
        outward = opset13.transpose(inward, opset13.constant(np.array(_OUTWARD, np.int64)))
        for target in node.output(0).get_target_inputs():
            target.replace_source_output(outward.output(0))
        return True
    return False
