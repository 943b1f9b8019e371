"""Nodes and constants of an ONNX graph, collected by name; needs no PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from ..runtime.artifacts.onnx_file import OPSET

DTYPES = {"fp32": np.float32, "fp16": np.float16}


class GraphBuilder:
    """Collects ONNX nodes and constants; float constants take the graph's precision unless told otherwise.

    Args:
        opset: of the graph that they will stand in.
    """

    def __init__(self, precision: str, opset: int = OPSET) -> None:
        self.dtype = np.dtype(DTYPES[precision])
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def node(self, kind: str, name: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node whose one result carries the node's name; gives that name back."""
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: NDArray[Any], dtype: Any = None) -> str:
        value = np.asarray(value)
        if value.dtype.kind == "f":
            with np.errstate(over="ignore"):  # an infinite weight shows in the check, by its layer's name
                value = value.astype(dtype or self.dtype)
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def spread(self, name: str, source: str, size: Sequence[int]) -> str:
        """One pixel over a whole map. Bilinear would be the same; parsers were seen to read past the row, or to lose a dimension."""
        sizes = self.constant(f"{name}.sizes", np.asarray(size, np.int64))
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.node("Resize", name, [source, "", "", sizes], **how)

    def resize(self, name: str, source: str, size: Sequence[int], align_corners: bool) -> str:
        """Bilinear as in `F.interpolate`: half-pixel centres, or corners on corners. `size`: the whole result's shape."""
        placed = "align_corners" if align_corners else "half_pixel"
        sizes = self.constant(f"{name}.sizes", np.asarray(size, np.int64))
        return self.node("Resize", name, [source, "", "", sizes], mode="linear", coordinate_transformation_mode=placed)

    def reduce(self, kind: str, name: str, source: str, axis: int) -> str:
        """Over one axis, which stays with size 1; ReduceSum has its axes as an input since opset 13, the others since 18."""
        if self.opset < (13 if kind == "ReduceSum" else 18):
            return self.node(kind, name, [source], axes=[axis], keepdims=1)
        axes = self.constant(f"{name}.axes", np.array([axis], np.int64))
        return self.node(kind, name, [source, axes], keepdims=1)


def value_info(name: str, dtype: Any, shape: Sequence[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), list(shape))


def copy(node: onnx.NodeProto) -> onnx.NodeProto:
    """One that outlives the graph whose nodes are about to be deleted."""
    return onnx.NodeProto.FromString(node.SerializeToString())
