"""Small exports that lie in the repository, so that the runtime is tested where PyTorch is not: on a board, on ARM, on old packages.

They come from the project's own exporter, of a network with an eighth of Fast-SCNN's channels; see `record.py`.
"""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastscnn.runtime.artifacts import onnx_wire

ARCHIVE = Path(__file__).with_name("models.tar.xz")
Size = tuple[int, int]


def key(head: str, resolution: Size, classes: str, options: dict[str, Any]) -> str:
    """The name of a file: what it was exported with, and nothing that is the default."""
    usual = {"precision": "fp32", "input": "uint8", "batch": 1}
    told = {name: value for name, value in options.items() if usual.get(name) != value}
    words = [head, "x".join(map(str, resolution)), classes, *(f"{name}-{told[name]}" for name in sorted(told))]
    return "_".join(words) + ".onnx"


@dataclass(frozen=True)
class Spec:
    """One export."""

    head: str
    resolution: Size
    classes: str = "cityscapes"  # random weights; those of camvid were trained on drawn streets
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return key(self.head, self.resolution, self.classes, self.options)

    @property
    def arguments(self) -> dict[str, Any]:
        return {"head": self.head, "resolution": self.resolution, "classes": self.classes, **self.options}


@dataclass(frozen=True)
class Int8:
    """An export, quantised."""

    source: str

    @property
    def name(self) -> str:
        return self.source.replace(".onnx", "_int8.onnx")


_HALF, _FLOAT = {"precision": "fp16"}, {"input": "float"}
_USUAL, _SMALL, _ODD, _STREET = (128, 256), (64, 64), (100, 140), (256, 512)

SPECS = (
    *(Spec(head, size) for head in ("cls", "prob", "logits") for size in (_USUAL, _SMALL, _ODD)),
    *(Spec(head, (333, 517)) for head in ("cls", "logits")),
    *(Spec(head, _USUAL, options=_HALF) for head in ("cls", "prob", "logits")),
    *(Spec(head, size, options=_HALF) for head in ("cls", "logits") for size in (_SMALL, _ODD, (333, 517))),
    *(Spec("cls", _USUAL, options={"batch": count}) for count in (2, 3)),
    Spec("cls", _SMALL, options={"batch": 3}),
    Spec("cls", _USUAL, options=_FLOAT),
    *(Spec(head, _USUAL, options={"probability": "sigmoid"}) for head in ("prob", "logits")),
    Spec("logits", _USUAL, options={"probability": "softmax"}),
    Spec("cls", _STREET),
    *(Spec(head, _STREET, "camvid") for head in ("cls", "prob", "logits")),
    *(Spec("cls", _STREET, "camvid", options) for options in (_HALF, _FLOAT, {"batch": 2})),
    *(Spec("cls", _ODD, "camvid", options) for options in ({}, _HALF)),
)
QUANTISED = tuple(Int8(spec.name) for spec in SPECS if spec.classes == "camvid" and not spec.options)


def unpacked(folder: Path) -> dict[str, Path]:
    """Every recorded file, by name."""
    with tarfile.open(ARCHIVE) as archive:
        for member in archive.getmembers():
            content = archive.extractfile(member)
            assert content is not None
            (folder / member.name).write_bytes(content.read())
        return {name: folder / name for name in archive.getnames()}


def described_anew(model: bytes, changes: dict[str, object]) -> bytes:
    """An ONNX file's bytes with other words in its description, and the graph as it was."""

    def entry(value: int | memoryview | bytes) -> int | memoryview | bytes:
        told = onnx_wire.texts(value) if isinstance(value, memoryview) else {}
        name = told.get(1, "").removeprefix("fastscnn.")
        if name not in changes:
            return value
        return onnx_wire.field(1, told[1].encode()) + onnx_wire.field(2, json.dumps(changes[name]).encode())

    return b"".join(
        onnx_wire.field(number, entry(value) if number == 14 else value) for number, value in onnx_wire.fields(model)
    )


def description(model: bytes) -> dict[str, Any]:
    """What an ONNX file's bytes say of themselves."""
    entries = [onnx_wire.texts(value) for number, value in onnx_wire.fields(model) if number == 14]  # type: ignore[arg-type]
    return {entry[1].removeprefix("fastscnn."): json.loads(entry[2]) for entry in entries}
