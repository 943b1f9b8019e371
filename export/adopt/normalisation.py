"""How pixels become what a foreign network was trained on: found in its graph, told by its metadata, or asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from ...runtime.errors import UsageError
from .reading import Foreign
from .still import Still, small

Floats = NDArray[np.float64]
_PIXELS = 64.0  # widest span of a network's input that is likely; what 0-255 becomes beyond it was not made for 0-255
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "Sub": np.subtract,
    "Add": np.add,
    "Mul": np.multiply,
    "Div": np.divide,
}


@dataclass(frozen=True)
class Affine:
    """plane → gain · plane + offset, for each of three planes."""

    gain: Floats
    offset: Floats

    def then(self, other: Affine) -> Affine:
        return Affine(other.gain * self.gain, other.gain * self.offset + other.offset)


SAME = Affine(np.ones(3), np.zeros(3))


@dataclass(frozen=True)
class Normalisation:
    """(pixel · scale - mean) / std, planes in `order`."""

    scale: float
    mean: tuple[float, ...]  # of the network's planes
    std: tuple[float, ...]
    order: str  # "rgb" or "bgr"
    origin: str  # where it is known from

    @property
    def affine(self) -> Affine:
        std = np.array(self.std, np.float64)
        return Affine(self.scale / std, -np.array(self.mean, np.float64) / std)

    def described(self) -> dict[str, Any]:
        """As the description has it: RGB, of pixels scaled to 0-1."""
        turn = 1 if self.order == "rgb" else -1
        mean = tuple(float(value) / (255 * self.scale) for value in self.mean[::turn])
        std = tuple(float(value) / (255 * self.scale) for value in self.std[::turn])
        return {"mean": mean, "std": std, "order": self.order}

    def __str__(self) -> str:
        if (self.scale, *self.mean, *self.std) == (1, 0, 0, 0, 1, 1, 1):
            arithmetic = "pixels 0-255 as they are"
        else:
            scale = "1/255" if abs(self.scale * 255 - 1) < 1e-6 else f"{self.scale:g}"
            arithmetic = f"(pixel x {scale} - {_listed(self.mean)}) / {_listed(self.std)}"
        return f"{arithmetic}, {self.order.upper()}: {self.origin}"


@dataclass(frozen=True)
class Entry:
    """The beginning of the graph that our own input takes the place of."""

    tensor: str  # where the network goes on
    layout: str  # "NCHW" or "NHWC"
    dtype: str  # "float32" or "float16"
    affine: Affine  # what the graph itself did to the planes up to there
    arithmetic: bool  # whether it did anything
    turned: bool  # whether it turned the order of the planes


def entry(still: Still, foreign: Foreign) -> Entry:
    """Walk from the input through casts, transpositions, turned planes and arithmetic with constants."""
    constants = still.constants()
    consumers: dict[str, list[onnx.NodeProto]] = {}
    for node in still.graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    results = {output.name for output in still.graph.output}
    name, layout, affine = foreign.input.name, foreign.input.layout, SAME
    dtype, arithmetic, turned = foreign.input.dtype, False, False
    while len(following := consumers.get(name, [])) == 1 and name not in results:
        (node,) = following
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        channel = layout.index("C")
        if node.op_type == "Cast" and given["to"] in (TensorProto.FLOAT, TensorProto.FLOAT16):
            dtype = "float16" if given["to"] == TensorProto.FLOAT16 else "float32"
        elif node.op_type == "Transpose" and (new := "".join(layout[i] for i in given["perm"])) in ("NCHW", "NHWC"):
            layout = new
        elif _turns(node, given, channel, constants):
            affine, turned = Affine(affine.gain[::-1], affine.offset[::-1]), not turned
        elif node.op_type in _ARITHMETIC and (step := _step(node, name, channel, constants)) is not None:
            affine, arithmetic = affine.then(step), True
        else:
            break
        name = node.output[0]
    return Entry(name, layout, dtype, affine, arithmetic, turned)


def _step(node: onnx.NodeProto, taken: str, channel: int, constants: dict[str, onnx.TensorProto]) -> Affine | None:
    """One operation with a constant, where it does the same to every pixel."""
    other = next((n for n in node.input if n != taken), None)
    value = small(constants.get(other or ""))
    if value is None:
        return None
    value = value.astype(np.float64)
    place = channel - 4 + value.ndim  # of the channel among the constant's own axes
    if value.size == 3 and value.ndim and 0 <= place < value.ndim and value.shape[place] == 3:
        value = value.reshape(3)
    elif value.size != 1:
        return None
    value = np.broadcast_to(value.ravel(), 3)
    first = node.input[0] == taken
    operation = _ARITHMETIC[node.op_type]
    if node.op_type == "Div" and (not first or not value.all()):
        return None
    zero, one = (operation(x, value) if first else operation(value, x) for x in (np.zeros(3), np.ones(3)))
    return Affine(one - zero, zero)


def _turns(node: onnx.NodeProto, given: dict[str, Any], channel: int, constants: dict[str, onnx.TensorProto]) -> bool:
    """Whether a node only turns RGB into BGR or back."""
    found = [small(constants.get(name)) for name in node.input[1:]]
    values = [value.tolist() if value is not None and value.ndim else None for value in found]
    if node.op_type == "Gather":
        return values == [[2, 1, 0]] and given.get("axis", 0) % 4 == channel
    if node.op_type == "Slice" and [*map(len, filter(None, values))] == [1, 1, 1, 1]:
        ((start,), (end,), (axis,), (step,)) = (value for value in values if value)
        return bool(axis % 4 == channel and step == -1 and start in (-1, 2) and end < -3)
    return False


def choose(
    foreign: Foreign,
    found: Entry,
    *,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    scale: float | None,
    as_is: bool,
    order: str | None,
) -> Normalisation:
    """What has to be done outside of the graph; never guessed.

    Args:
        mean, std, scale: of the options; None where they were not given.
        as_is: the option that says pixels go in as they are.

    Raises:
        UsageError: nobody says it, or two options contradict each other.
    """
    told = _told(foreign)
    planes = order or (told.order if told else "bgr" if found.turned else "rgb")
    given = mean is not None or std is not None or scale is not None
    if given and as_is:
        raise UsageError("--no-normalise was given together with --mean, --std or --scale; expected one or the other")
    nothing = ((0.0,) * 3, (1.0,) * 3)
    if as_is:
        return Normalisation(1.0, *nothing, planes, "as --no-normalise says")
    if given:
        scaled = 1 / 255 if scale is None else scale
        means, stds = mean or nothing[0], std or nothing[1]
        if scaled <= 0 or min(stds) <= 0:
            raise UsageError(f"--scale {scaled:g} and --std {_listed(stds)}; expected numbers above 0")
        if scale is None and max(*map(abs, means), *stds) > 1.5:
            raise UsageError(
                f"--mean {_listed(means)} --std {_listed(stds)} are of pixels from 0 to 255; say --scale 1 with them"
            )
        return Normalisation(scaled, means, stds, planes, "as the options say")
    span = 255 * float(np.abs(found.affine.gain).max())
    if foreign.input.dtype == "uint8" or (found.arithmetic and span <= _PIXELS):
        return Normalisation(1.0, *nothing, planes, "the rest is inside the graph")
    if found.arithmetic:
        raise UsageError(
            f"{foreign.name} normalises inside, but pixels from 0 to 255 would become values {span:,.0f} apart: it seems to take "
            "pixels of 0 to 1. Say so with --scale 1/255, or --no-normalise if it does take 0 to 255"
        )
    if told:
        return told
    raise UsageError(
        f"{foreign.name} does not tell how its pixels are normalised, neither in its graph nor in its metadata. Say it as its training "
        "does: --mean R G B --std R G B (of pixels x --scale, 1/255 by default), or --no-normalise if it takes pixels from 0 to 255; "
        "and --order bgr if its planes are not RGB"
    )


def _told(foreign: Foreign) -> Normalisation | None:
    """What tools are known to do whose name is in the metadata."""
    if foreign.metadata.get("author") == "Ultralytics":  # every model of theirs takes RGB from 0 to 1
        return Normalisation(1 / 255, (0.0,) * 3, (1.0,) * 3, "rgb", "Ultralytics' metadata")
    return None


def _listed(values: tuple[float, ...]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else " ".join(f"{v:g}" for v in values)
