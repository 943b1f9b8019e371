"""Where a foreign graph ends as Fast-SCNN does: low-resolution logits, a bilinear Resize, arg-max or soft-max.

From each result of the graph the way leads backwards through what only chooses or reorders, to a Resize that can be
decoded exactly, or to low-resolution logits that nobody upsamples. Anything else is a reason to refuse.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper

from ...runtime.artifacts.artifact import IGNORE
from ...runtime.errors import ArtifactError, UsageError
from ...runtime.text import shown
from .reading import Input
from .still import Still, exact, small

_ORDERING = ("Identity", "Cast", "Transpose", "Squeeze", "Unsqueeze", "Reshape")
_DECIDING = {"Softmax": "softmax", "LogSoftmax": "log-softmax", "Sigmoid": "sigmoid", "ArgMax": "labels"}
_AUXILIARY = re.compile(r"aux|deep_?sup|boundary|edge|detail", re.IGNORECASE)
_BILINEAR = ("half_pixel", "pytorch_half_pixel")  # the same but for results of one pixel
_SKEWED = 0.25  # of the two axes' ratios, beyond which a tensor is no picture of the input


class _NoEndError(Exception):
    """Why a result cannot be cut, in half a sentence."""


@dataclass(frozen=True)
class Ending:
    """One place to cut."""

    logits: str  # the tensor to end at
    layout: str  # its axes, "NCHW" or "NHWC"
    shape: tuple[int, int, int, int]  # N, C, h, w
    dtype: str  # "float32" or "float16"
    output: str  # the graph's result that hangs on it
    axes: str  # of that result, a letter an axis, "1" for one of size 1
    kind: str  # what that result holds: "scores", "softmax", "log-softmax", "sigmoid" or "labels"
    upsampled: bool  # whether the graph has a Resize behind the logits
    scores: str  # the tensor behind it
    align_corners: bool = False
    before: str = ""  # "Softmax" or "Sigmoid" where the graph decides before it upsamples
    left_out: tuple[str, ...] = field(default=(), compare=False)  # other results of the graph

    @property
    def classes(self) -> int:
        return self.shape[1]


def find(still: Still, taken: Input, source: str, at: str | None = None, align_corners: bool = False) -> Ending:
    """The one place to cut, or the reasons why there is none.

    Args:
        taken: the graph's input.
        at: name of the result, or of the tensor, to take; needed where there are several.
        align_corners: how logits are upsampled that the graph itself does not upsample.

    Raises:
        ArtifactError: no such end; one reason for each result of the graph.
        UsageError: several, or no tensor of that name.
    """
    names = [output.name for output in still.graph.output]
    found: dict[str, Ending] = {}
    reasons: dict[str, str] = {}
    for name in [at] if at else names:
        if name not in names and name not in still.producers():
            listed = ", ".join(map(shown, names))[:300]
            raise UsageError(
                f"{source} has no tensor {at!r}; expected one of its results ({listed}) or a tensor inside"
            )
        try:
            found[name] = _Walk(still, taken, align_corners).back(name)
        except _NoEndError as reason:
            reasons[name] = str(reason)
    if not found:
        listed = "; ".join(f"{shown(name)[:80]}: {reason}" for name, reason in reasons.items())
        raise ArtifactError(
            f"{source} does not end in low-resolution logits that are upsampled bilinearly. {listed}"[:1500]
        )
    if not at:
        found = _without_auxiliary(_without_lists(found, reasons, still, source))
    places: dict[str, Ending] = {}
    for ending in found.values():
        places.setdefault(ending.logits, ending)
    if len(places) > 1:
        listed = ", ".join(f"{shown(e.output)} (C={e.classes} at {e.shape[2]}x{e.shape[3]})" for e in places.values())
        raise UsageError(f"{source} has {len(places)} results that can be cut: {listed}. Choose one with --at NAME")
    (ending,) = places.values()
    _check_classes(ending, source)
    left = tuple(name for name in names if name != ending.output)
    return Ending(**{**ending.__dict__, "left_out": left})


def _without_auxiliary(found: Mapping[str, Ending]) -> dict[str, Ending]:
    """Leave out heads that only helped to train, by their names."""
    main = {name: ending for name, ending in found.items() if not _AUXILIARY.search(name)}
    return main or dict(found)


def _without_lists(
    found: Mapping[str, Ending], reasons: Mapping[str, str], still: Still, source: str
) -> dict[str, Ending]:
    """Low-resolution maps beside lists are an instance model's masks, not classes."""
    lists = [name for name in reasons if len(still.shapes.get(name, (0,) * 4)) < 4]
    kept = {name: ending for name, ending in found.items() if ending.upsampled or not lists}
    if not kept:
        raise ArtifactError(
            f"{source} gives {shown(lists[0])} of shape {_sides(still.shapes.get(lists[0]))} beside its maps, as instance segmentation "
            "and mask classification do; expected one score a class for each pixel"
        )
    return kept


def _check_classes(ending: Ending, source: str) -> None:
    if ending.classes > IGNORE:
        raise ArtifactError(
            f"{source} has {ending.classes} channels where its classes should be; labels are bytes, so at most {IGNORE} fit"
        )
    if ending.classes == 1 and (ending.before or ending.kind in ("softmax", "log-softmax")):
        raise ArtifactError(
            f"{source} has one channel and decides by {ending.before or ending.kind}; expected a class each, or one logit"
        )


class _Walk:
    """Backwards from one tensor."""

    def __init__(self, still: Still, taken: Input, align_corners: bool) -> None:
        self._shapes, self._types, self._taken = still.shapes, still.types, taken
        self._producers, self._constants = still.producers(), still.constants()
        self._align = align_corners

    def back(self, output: str) -> Ending:
        shape = self._shapes.get(output)
        if shape is None:
            raise _NoEndError("its size hangs on what is in the picture, as lists of detections do")
        path: list[onnx.NodeProto] = []
        name = output
        while (node := self._producers.get(name)) is not None and self._passes(node):
            path.append(node)
            name = node.input[0]
        if node is None:
            raise _NoEndError("it is the input itself")
        resized = node.op_type in ("Resize", "Upsample")
        scores = name
        layout, aligned = self._upsampling(node) if resized else (self._low(name, node, path), self._align)
        if resized:
            # A Cast between logits and Resize is the exporter's: the logits are what stood before it.
            name = node.input[0]
            while (cast := self._producers.get(name)) is not None and cast.op_type == "Cast":
                name = cast.input[0]
        decided = self._producers.get(name)
        before = decided.op_type if decided is not None and decided.op_type in ("Softmax", "Sigmoid") else ""
        axes, kind = self._forward(layout, path, self._shapes[path[-1].input[0]] if path else shape)
        return Ending(
            logits=name,
            layout=layout,
            shape=self._ordered(self._shapes[name], layout),
            dtype=self._dtype(name),
            output=output,
            axes=axes,
            kind=kind,
            upsampled=resized,
            scores=scores,
            align_corners=aligned,
            before=before,
        )

    def _passes(self, node: onnx.NodeProto) -> bool:
        before, after = (self._shapes.get(n) for n in (node.input[0], node.output[0]))
        if node.op_type in ("Resize", "Upsample"):
            return before is not None and before == after
        if node.op_type == "Reshape":
            return before is not None and after is not None and _filled(before) == _filled(after)
        return node.op_type in _ORDERING or node.op_type in _DECIDING or self._threshold(node) is not None

    def _threshold(self, node: onnx.NodeProto) -> float | None:
        """What a single logit, or its sigmoid, is compared with to become a label."""
        value = small(self._constants.get(node.input[1])) if node.op_type == "Greater" else None
        return float(value.ravel()[0]) if value is not None and value.size == 1 else None

    def _dtype(self, name: str) -> str:
        kinds: dict[int, str] = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16"}
        kind = self._types.get(name, 0)
        if kind not in kinds:
            raise _NoEndError("its logits are neither float32 nor float16")
        return kinds[kind]

    def _upsampling(self, node: onnx.NodeProto) -> tuple[str, bool]:
        """Layout of what a Resize upsamples, and whether corners lie on corners."""
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        before, after = (self._shapes.get(n) for n in (node.input[0], node.output[0]))
        what = f"its Resize {shown(node.name)[:60]}".rstrip()
        if node.op_type == "Upsample":
            raise _NoEndError(f"{what} is of an opset before 11 and asymmetric; export it with a newer one")
        mode = given.get("mode", b"nearest").decode()
        if mode != "linear":
            raise _NoEndError(f"{what} is {mode}; expected linear")
        placed = given.get("coordinate_transformation_mode", b"half_pixel").decode()
        if placed == "asymmetric":
            raise _NoEndError(
                f"{what} is asymmetric, which moves every label by up to half a cell; export it with half_pixel or align_corners"
            )
        if placed not in (*_BILINEAR, "align_corners"):
            raise _NoEndError(f"{what} samples by {placed}; expected half_pixel or align_corners")
        if given.get("keep_aspect_ratio_policy", b"stretch") != b"stretch" or given.get("exclude_outside"):
            raise _NoEndError(f"{what} keeps the aspect ratio or excludes the outside; expected neither")
        if before is None or after is None or len(before) != 4:
            raise _NoEndError(f"{what} has no fixed size of four axes")
        scales = self._constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        if placed != "align_corners" and scales is not None:
            factors = small(scales)
            if factors is None or (factors.size and not exact(factors, before, after)):
                raise _NoEndError(
                    f"{what} scales {_sides(before)} by {factors.tolist() if factors is not None else '?'} and cuts what is left over; choose a --res that divides"
                )
        image = (self._taken.height, self._taken.width)
        for layout, (rows, columns) in (("NCHW", (2, 3)), ("NHWC", (1, 2))):
            rest = [i for i in range(4) if i not in (rows, columns)]
            if (after[rows], after[columns]) == image and all(before[i] == after[i] for i in rest):
                if before[rows] > after[rows] or before[columns] > after[columns]:
                    raise _NoEndError(
                        f"{what} shrinks {_sides(before)} to {_sides(after)}; expected logits below the picture's size"
                    )
                return layout, placed == "align_corners"
        raise _NoEndError(
            f"{what} gives {_sides(after)} for a picture of {image[0]}x{image[1]}; expected the picture's own size. Choose the "
            "logits with --at NAME to have them upsampled to it"
        )

    def _low(self, name: str, node: onnx.NodeProto, path: Sequence[onnx.NodeProto]) -> str:
        """Layout of logits that nobody upsamples."""
        shape = self._shapes.get(name)
        if shape is None or len(shape) != 4:
            raise _NoEndError(
                f"it comes from {node.op_type} with the shape {_sides(shape)}, as boxes, masks or one label for the whole "
                "picture do; expected scores for each pixel"
            )
        image = (self._taken.height, self._taken.width)
        fitting = [layout for layout, at in (("NCHW", 2), ("NHWC", 1)) if _like(shape[at : at + 2], image)]
        if not fitting:
            raise _NoEndError(
                f"it comes from {node.op_type} with the shape {_sides(shape)}, no picture of {image[0]}x{image[1]}"
            )
        at = 2 if fitting[0] == "NCHW" else 1
        if shape[at : at + 2] == image:
            raise _NoEndError(
                f"its last step at low resolution is no Resize: {node.op_type} computes {_sides(shape)} at the picture's own size"
            )
        if any(step.op_type in _DECIDING for step in path):
            raise _NoEndError("it decides at low resolution and is not upsampled; choose its logits with --at NAME")
        return fitting[0]

    def _ordered(self, shape: tuple[int, ...], layout: str) -> tuple[int, int, int, int]:
        n, c, h, w = (shape[layout.index(letter)] for letter in "NCHW")
        return n, c, h, w

    def _forward(self, layout: str, path: Sequence[onnx.NodeProto], shape: tuple[int, ...]) -> tuple[str, str]:
        """What the axes of the graph's result are, and what it holds."""
        axes, kind = layout, "scores"
        for node in reversed(path):
            given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            after = self._shapes[node.output[0]]
            if node.op_type == "Transpose":
                axes = "".join(axes[i] for i in given.get("perm", range(len(axes))[::-1]))
            elif node.op_type in ("Squeeze", "Unsqueeze", "Reshape"):
                axes = _relabelled(axes, shape, after)
            elif node.op_type in _DECIDING:
                axis = int(given.get("axis", 0 if node.op_type == "ArgMax" else -1))
                if node.op_type != "Sigmoid" and axes[axis] != "C":
                    raise _NoEndError(f"its {node.op_type} is not along the classes")
                if node.op_type == "ArgMax" and shape[axis] == 1:
                    raise _NoEndError("its ArgMax has one channel to choose from")
                if kind == "labels" or (kind != "scores" and node.op_type != "ArgMax"):
                    raise _NoEndError(f"it decides twice, by {kind} and {node.op_type}")
                kind = _DECIDING[node.op_type]
                if node.op_type == "ArgMax":
                    axis %= len(axes)
                    axes = axes[:axis] + ("1" if given.get("keepdims", 1) else "") + axes[axis + 1 :]
            elif (threshold := self._threshold(node)) is not None:
                if threshold != {"scores": 0.0, "sigmoid": 0.5}.get(kind):
                    raise _NoEndError(
                        f"it compares its {kind} with {threshold:g}; expected a logit with 0, or a sigmoid with 0.5"
                    )
                kind = "labels"
            shape = after
        if axes.replace("C", "").replace("1", "").replace("N", "") != "HW":
            raise _NoEndError("its result lies across; expected rows before columns")
        return axes, kind


def _relabelled(axes: str, before: tuple[int, ...], after: tuple[int, ...]) -> str:
    """Letters of the axes that are left when only axes of size 1 come and go."""
    left = [letter for letter, side in zip(axes, before, strict=True) if side != 1]
    return "".join("1" if side == 1 else left.pop(0) for side in after)


def _filled(shape: tuple[int, ...]) -> list[int]:
    return [side for side in shape if side != 1]


def _like(sides: tuple[int, ...], image: tuple[int, int]) -> bool:
    ratios = np.divide(image, np.maximum(sides, 1))
    return bool(ratios.min() >= 1 and ratios.max() <= (1 + _SKEWED) * ratios.min())


def _sides(shape: Sequence[int] | None) -> str:
    return "x".join(map(str, shape)) if shape is not None else "unknown"
