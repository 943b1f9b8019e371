"""PyTorch module → ONNX graph at one resolution, node by node.

An `fx.Interpreter` runs the network on a real image and writes one ONNX node (or the exact equivalent of it) for each
operation. So shapes are constants, nodes carry the names of the modules that they come from, and PyTorch's own result of
every layer is at hand for the check. An operation that the table below does not hold is refused by name.
"""

from __future__ import annotations

import copy
import operator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.nn import functional as F

from .builder import GraphBuilder

_TURNED = [0, 1, 3, 2]  # a map's rows and columns


def pooling_matrix(bins: int, size: int) -> NDArray[np.float32]:
    """(bins, size) averaging matrix of adaptive average pooling along one axis: bin i spans ⌊i·size/bins⌋ to ⌈(i+1)·size/bins⌉."""
    matrix = np.zeros((bins, size), np.float32)
    for i in range(bins):
        start, stop = i * size // bins, -(-(i + 1) * size // bins)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix


class ModuleWriter(fx.Interpreter):
    """Run `module` and write its operations into `builder`.

    `results` holds PyTorch's own value of every node, float32, by node name, in order.

    Raises:
        NotImplementedError: for an operation without an ONNX form here; names the module.
    """

    def __init__(self, module: nn.Module, builder: GraphBuilder, source: str, result: str) -> None:
        traced = fx.symbolic_trace(module)
        super().__init__(traced)
        self.builder = builder
        self.source = source  # the tensor that feeds the module
        self.result = result  # what its result is called
        self.results: dict[str, Tensor] = {}
        self._names: dict[fx.Node, str] = {}
        self._last = next(n for n in reversed(list(traced.graph.nodes)) if n.op == "output").args[0]

    def write(self, image: Tensor) -> Tensor:
        """Run on `image` (N, 3, H, W) float32, fixing the graph's resolution; gives the logits."""
        with torch.inference_mode():
            logits: Tensor = self.run(image)
        return logits

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.op == "placeholder":
            self._names[n] = self.source
        elif n.op in ("call_module", "call_function") and isinstance(value, Tensor):
            name = self.result if n is self._last else self._name(n)
            self._names[n] = self._write(n, name, value)
            self.results[self._names[n]] = value
        return value

    def _name(self, n: fx.Node) -> str:
        if n.op == "call_module":
            return str(n.target)
        stack = n.meta.get("nn_module_stack") or {}
        scope = list(stack)[-1] if stack else ""
        base = f"{scope}.{getattr(n.target, '__name__', n.target)}".lstrip(".")
        taken = sum(1 for name in self.results if name == base or name.startswith(f"{base}_"))
        return f"{base}_{taken}" if taken else base

    def _write(self, n: fx.Node, name: str, value: Tensor) -> str:
        add = self.builder
        sources = [self._names[a] for a in n.all_input_nodes if a in self._names]
        operation = self.module.get_submodule(str(n.target)) if n.op == "call_module" else n.target
        if isinstance(operation, nn.Conv2d):
            return self._conv(name, sources[0], operation)
        if isinstance(operation, nn.ReLU):
            return add.node("Relu", name, sources)
        if isinstance(operation, nn.ReLU6):
            bounds = [add.constant(f"{name}.{end}", np.float32(value)) for end, value in (("low", 0), ("high", 6))]
            return add.node("Clip", name, [*sources, *bounds])
        if isinstance(operation, nn.AdaptiveAvgPool2d):
            return self._pool(name, sources[0], value, self.env[n.all_input_nodes[0]])
        if operation in (operator.add, torch.add):
            return add.node("Add", name, sources)
        if operation is torch.cat:
            return add.node("Concat", name, sources, axis=n.kwargs.get("dim", 0))
        if operation is F.interpolate and n.kwargs["mode"] == "bilinear":
            if self.env[n.all_input_nodes[0]].shape[2:] == (1, 1):
                return add.spread(name, sources[0], value.shape)
            return add.resize(name, sources[0], value.shape, bool(n.kwargs["align_corners"]))
        if operation is F.pad:
            left, right, top, bottom = self.fetch_args_kwargs_from_env(n)[0][1]
            pads = add.constant(f"{name}.pads", np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))
            return add.node("Pad", name, [sources[0], pads])
        raise NotImplementedError(f"no ONNX form for {n.target} in {name}; add it to fastscnn.export.graph")

    def _conv(self, name: str, source: str, conv: nn.Conv2d) -> str:
        inputs = [source, self.builder.constant(f"{name}.weight", conv.weight.detach().numpy())]
        if conv.bias is not None:
            inputs.append(self.builder.constant(f"{name}.bias", conv.bias.detach().numpy()))
        pads = [int(p) for p in conv.padding]
        return self.builder.node(
            "Conv",
            name,
            inputs,
            kernel_shape=conv.kernel_size,
            strides=conv.stride,
            pads=pads * 2,
            dilations=conv.dilation,
            group=conv.groups,
        )

    def _pool(self, name: str, source: str, value: Tensor, pooled: Tensor) -> str:
        """Two products with constant matrices, X · P_wᵀ, then the same of the columns: exact where the bins do not divide the map.

        Not every parser takes a constant as the first factor, so the rows are turned into columns and back. One bin is the
        plain mean, and its products would be matrices of one column, on which a parser was seen to read past the row.
        """
        add = self.builder
        (height, width), (rows, columns) = pooled.shape[2:], value.shape[2:]
        if (rows, columns) == (1, 1):
            return add.node("GlobalAveragePool", name, [source])
        across = add.node(
            "MatMul", f"{name}.across", [source, add.constant(f"{name}.columns", pooling_matrix(columns, width).T)]
        )
        turned = add.node("Transpose", f"{name}.turned", [across], perm=_TURNED)
        down = add.node(
            "MatMul", f"{name}.down", [turned, add.constant(f"{name}.rows", pooling_matrix(rows, height).T)]
        )
        return add.node("Transpose", name, [down], perm=_TURNED)


class HalfPrecision(fx.Interpreter):
    """Run a module as float16 hardware would: weights and every layer's result rounded to float16, sums in float32.

    ONNX Runtime's CPU runs float16 graphs in float32, so it cannot show what overflows or drowns on a GPU.
    `results` are in the order of `ModuleWriter.results`.
    """

    def __init__(self, module: nn.Module) -> None:
        rounded = copy.deepcopy(module)
        for parameter in rounded.parameters():
            parameter.data = parameter.data.half().float()
        super().__init__(fx.symbolic_trace(rounded))
        self.results: list[Tensor] = []

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.op in ("call_module", "call_function", "placeholder") and isinstance(value, Tensor):
            value = value.half().float()
            if n.op != "placeholder":
                self.results.append(value)
        return value
