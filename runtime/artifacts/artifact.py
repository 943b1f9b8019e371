"""What a model file says about itself: written by the exporter and the builder, read by everything that runs it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ArtifactError
from ..text import shown

OUTPUTS = {"cls": "labels", "prob": "probabilities", "logits": "logits"}  # name of each head's result in the graph
HEADS = tuple(OUTPUTS)
PRECISIONS = ("fp32", "fp16", "int8")
INPUTS = ("uint8", "float")
PROBABILITIES = ("softmax", "sigmoid")
ORDERS = ("rgb", "bgr")
IGNORE = 255  # the train id that is never predicted and never counted
MAXIMUM_PIXELS = 1 << 28  # of a batch: 16384 x 16384; more is damage, and would only allocate
_LARGEST = 1 << 16  # of any size
_LONGEST_TEXT = 200  # characters of a name
PREFIX = "fastscnn."  # of the metadata keys in an ONNX file


@dataclass(frozen=True)
class Artifact:
    """A model's description: one metadata property a field in ONNX files, one key a field beside engines.

    Raises:
        ArtifactError: when a field holds what no exporter of this project writes.
    """

    head: str  # what the graph's output holds: one of HEADS
    height: int
    width: int
    batch: int
    input: str  # "uint8": (N, H, W, 3) BGR frames; "float": (N, 3, H, W) normalised RGB float32
    precision: str  # of weights and activations: one of PRECISIONS; int8 files end in float32 logits
    classes: tuple[str, ...]  # name of each train id
    palette: tuple[tuple[int, int, int], ...]  # RGB 0-255 of each train id
    class_set: str
    mean: tuple[float, float, float]  # RGB, of pixels scaled to 0-1
    std: tuple[float, float, float]
    logits_height: int  # of the low-resolution logits inside the graph
    logits_width: int
    checkpoint: (
        str  # sha256 of the weights' file (adopted: of the ONNX file that it was), or "random" where there was none
    )
    version: str  # of this project when it wrote the file
    # Below: with the value that files written before there was a choice have.
    align_corners: bool = False  # of the upsampling of the logits, by the graph's head or the decode
    probability: str = "softmax"  # of a logit: "softmax" over the classes, or "sigmoid" for each class by itself
    network: str = "Fast-SCNN"  # whose graph it is; of adopted files, what they call themselves
    adopted_output: str = ""  # of adopted files, the foreign graph's result that was kept
    licence: str = ""  # of adopted files, as the file or whoever adopted it tells; empty where nobody does
    temperature: float = 1.0  # that the logits are divided by in the graph, so that probabilities are calibrated
    order: str = "rgb"  # of the planes that the network takes once the input is normalised: one of ORDERS
    # Of quantised files:
    source: str = ""  # sha256 of the FP32 file that it was made from
    calibration: str = ""  # sha256 over the frames that the ranges and biases come from
    calibration_frames: int = 0

    def __post_init__(self) -> None:
        expect(_RULES, self, "the description", _AGAIN)
        if len(self.palette) != len(self.classes):
            raise ArtifactError(
                f"the description has {len(self.classes)} classes and {len(self.palette)} palette colours; "
                f"expected one colour a class. {_AGAIN}"
            )

        if self.batch * self.height * self.width > MAXIMUM_PIXELS:
            raise ArtifactError(
                f"the description's batch={self.batch} height={self.height} width={self.width} are "
                f"{self.batch * self.height * self.width:,} pixels; expected at most {MAXIMUM_PIXELS:,}. {_AGAIN}"
            )

    @property
    def resolution(self) -> str:
        return f"{self.height}x{self.width}"

    @property
    def trained(self) -> bool:
        return self.checkpoint != "random"

    def to_metadata(self) -> dict[str, str]:
        """Metadata properties for an ONNX file: key → JSON text."""
        fields = dataclasses.asdict(self)
        if self.temperature == 1:  # so files of weights that are not calibrated stay what they were
            del fields["temperature"]
        return {PREFIX + key: json.dumps(value) for key, value in fields.items()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], source: str) -> Artifact:
        """Read the properties back; `source` names the file in messages.

        Raises:
            ArtifactError: for a file of another origin, a missing or unreadable property.
        """
        fields = {f.name: metadata[PREFIX + f.name] for f in dataclasses.fields(cls) if PREFIX + f.name in metadata}
        required = [f.name for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING]
        missing = [name for name in required if name not in fields]
        if not fields:
            raise ArtifactError(
                f"{source} is an ONNX file without this project's description; expected one that fastscnn-export or fastscnn-adopt "
                "wrote. Another network's file becomes one with fastscnn-adopt"
            )
        if missing:
            raise ArtifactError(
                f"{source} has a description without {', '.join(missing)}; it was written by another version or cut. {_AGAIN}"
            )
        try:
            return cls.from_fields({name: json.loads(text) for name, text in fields.items()})
        except (ValueError, TypeError, RecursionError) as error:
            raise ArtifactError(
                f"{source} has a description that cannot be read ({shown(error):.300}). {_AGAIN}"
            ) from error

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Artifact:
        """Build from parsed JSON, whose lists become tuples."""
        return cls(**{name: _frozen(value) for name, value in fields.items()})


_AGAIN = "Export the model again with fastscnn-export, or adopt it again"


def _one_of(allowed: tuple[str, ...]) -> tuple[str, Callable[[Any], bool]]:
    return f"one of {', '.join(allowed)}", lambda value: value in allowed


def _whole(value: Any) -> bool:
    return type(value) is int and 0 < value <= _LARGEST


def _colour(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and all(type(v) is int and 0 <= v <= 255 for v in value)


def _numbers(value: Any, low: float) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and all(low < v < 1e3 for v in value)


def printable(value: Any) -> bool:
    """A short text without control characters, which a terminal would obey: file, class and device names end up there."""
    return isinstance(value, str) and len(value) <= _LONGEST_TEXT and value.isprintable()


def _names(value: Any) -> bool:
    return isinstance(value, tuple) and 2 <= len(value) <= IGNORE and all(map(printable, value))


_SIZE = (f"a whole number from 1 to {_LARGEST}", _whole)

Rules = Mapping[str, tuple[str, Callable[[Any], bool]]]  # field → what is expected, and whether a value is that


def expect(rules: Rules, thing: object, whose: str, remedy: str) -> None:
    """Hold every field against its rule, whatever type it has.

    Raises:
        ArtifactError: names the first that does not hold.
    """
    for name, (expected, holds) in rules.items():
        value = getattr(thing, name)
        try:
            sound = holds(value)
        except (TypeError, OverflowError):
            sound = False
        if not sound:
            raise ArtifactError(f"{whose}'s {name} is {value!r:.80}; expected {expected}. {remedy}")


_RULES: Rules = {
    "head": _one_of(HEADS),
    "precision": _one_of(PRECISIONS),
    "input": _one_of(INPUTS),
    "probability": _one_of(PROBABILITIES),
    "order": _one_of(ORDERS),
    "align_corners": ("true or false", lambda value: isinstance(value, bool)),
    **dict.fromkeys(("height", "width", "batch", "logits_height", "logits_width"), _SIZE),
    "classes": (f"2 to {IGNORE} names of one line", _names),
    "palette": (
        "colours of three numbers from 0 to 255",
        lambda value: isinstance(value, tuple) and all(map(_colour, value)),
    ),
    "mean": ("three numbers", lambda value: _numbers(value, -1e3)),
    "std": ("three numbers above zero", lambda value: _numbers(value, 1e-6)),
    "temperature": ("a number from 0.05 to 20", lambda value: isinstance(value, (int, float)) and 0.05 <= value <= 20),
    "calibration_frames": ("a whole number", lambda value: type(value) is int and 0 <= value <= _LARGEST),
    **dict.fromkeys(
        ("class_set", "checkpoint", "version", "source", "calibration", "network", "adopted_output", "licence"),
        ("a short text of one line", printable),
    ),
}


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value
