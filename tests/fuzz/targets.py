"""What is fed with damaged files: each target has sound seeds, a reader, and the errors that it documents."""

from __future__ import annotations

import io
import json
import pickle
import random
import tempfile
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import torch
from PIL import Image

from fastscnn.export import export
from fastscnn.export.adopt import adopt
from fastscnn.model import checkpoint, plain_yaml
from fastscnn.model.annotations.recognise import recognised
from fastscnn.model.classes import CAMVID
from fastscnn.model.datasets import read_classes
from fastscnn.model.importing import containers
from fastscnn.model.labelled.masks import read_mask
from fastscnn.model.street import Street
from fastscnn.model.training.recipe import SHIPPED, Recipe
from fastscnn.runtime import Segmenter
from fastscnn.runtime.artifacts import engine_file, onnx_file
from fastscnn.runtime.artifacts.onnx_unsigned import unsigned
from fastscnn.runtime.errors import ArtifactError, FastSCNNError, ParityError, SourceError, UsageError
from fastscnn.runtime.media.sinks import VideoSink
from fastscnn.runtime.media.sources import Source

Documented = tuple[type[FastSCNNError], ...]


@dataclass(frozen=True)
class Target:
    """A reader of files. `read` gets the path of a damaged one; `focus` is where in a seed the meaning stands."""

    name: str
    suffix: str
    seeds: tuple[bytes, ...]
    read: Callable[[Path], object]
    documented: Documented
    share: float = 1.0  # of the cases, relative to the others
    focus: Callable[[bytes], tuple[int, int] | None] = lambda data: None
    write: Callable[[Path, bytes], None] = lambda path, data: path.write_bytes(data) and None


def targets(folder: Path) -> list[Target]:
    """All of them; `folder` is for the models that the seeds are made from."""
    warnings.filterwarnings("error")
    model = export("cls", (64, 64), classes="cityscapes", output=folder / "seed.onnx").read_bytes()
    small = export("logits", (64, 64), classes="cityscapes", output=folder / "other.onnx").read_bytes()
    theirs = onnx.load(export("cls", (64, 64), input="float", classes="cityscapes", output=folder / "theirs.onnx"))
    del theirs.metadata_props[:]
    head = (0, 4000)
    return [
        Target("onnx", ".onnx", (model, small), _onnx, (ArtifactError,), 3.0, _edges),
        Target("adopt", ".onnx", (theirs.SerializeToString(),), _adopt, (ArtifactError, UsageError, ParityError), 0.5, _edges),
        Target("segmenter", ".onnx", (model,), _segment, (ArtifactError,), 0.5, _edges),
        Target("engine", ".plan", (_description(model),), engine_file.read, (ArtifactError,), 3.0, write=_write_engine),
        Target("safetensors", ".safetensors", (_safetensors(),), checkpoint.load, (ArtifactError, UsageError), 1.0, lambda _: head),
        Target("checkpoint", ".pth", _checkpoints(), checkpoint.load, (ArtifactError, UsageError), 1.0, _pickled),
        Target("import", ".pth", _checkpoints(), containers.read, (ArtifactError,), 0.5, _pickled),
        Target("inert", ".pth", (_inert(),), containers.read, (ArtifactError, UsageError), 1.0, _pickled),
        Target("mask", ".png", _masks(), _mask, (SourceError,), 1.0),
        Target("labelme", ".json", (_LABELME,), _annotated, (SourceError, UsageError), 1.0),
        Target("coco", ".json", (_COCO,), _annotated, (SourceError, UsageError), 1.0),
        Target("paddle", ".pdparams", (_paddle(2), _paddle(4)), containers.read, (ArtifactError,), 2.0),
        Target("recipe", ".yaml", tuple(p.read_bytes() for p in sorted(SHIPPED.glob("*.yaml"))), _recipe, (UsageError,), 2.0),
        Target("classes", ".yaml", (_CLASSES, _BOMB), read_classes, (UsageError,), 2.0),
        Target("yaml", ".yaml", (_CLASSES, _BOMB), plain_yaml.read, (UsageError,), 1.0),
        *(Target(f"image{s}", s, (_image(s),), _look, (SourceError,), 0.5) for s in (".png", ".jpg", ".bmp", ".tif", ".webp")),
        Target("video", ".avi", (_video(folder),), _look, (SourceError,), 0.2, lambda _: head),
    ]  # fmt: skip


_CLASSES = b"name: yard\nclasses: {grass: [0, 255, 0], path: [90, 90, 90], wall: [10, 0, 200]}\n"
_BOMB = b"a: &a [0, 0, 0]\nb: &b [*a, *a, *a]\nclasses: {x: *b, y: [1, 2, 3], <<: {z: [1, 1, 1]}}\n"


_LABELME = (
    b'{"version": "5.5.0", "imageHeight": 8, "imageWidth": 8, "imagePath": "picture.png", "shapes": [{"label": "a", "shape_type": '
    b'"polygon", "points": [[1, 1], [6, 1], [3.5, 6]]}, {"label": "b", "shape_type": "circle", "points": [[4, 4], [5, 6]]}]}'
)
_COCO = (
    b'{"images": [{"id": 1, "file_name": "picture.png", "height": 8, "width": 8}], "categories": [{"id": 1, "name": "a"}], '
    b'"annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 6, 1, 3, 6]]}, {"id": 2, "image_id": 1, '
    b'"category_id": 1, "segmentation": {"size": [8, 8], "counts": [10, 9, 45]}}, {"id": 3, "image_id": 1, "category_id": 1, '
    b'"segmentation": {"size": [8, 8], "counts": ":9]1"}}]}'
)


def _annotated(path: Path) -> None:
    """The file beside its picture, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        cv2.imwrite(f"{folder}/picture.png", np.zeros((8, 8, 3), np.uint8))
        Path(folder, "a.json").write_bytes(path.read_bytes())
        for picture in recognised(Path(folder)).pictures:
            mask = picture.draw((8, 8))
            assert mask.shape == (8, 8) and mask.dtype == np.int16


def _mask(path: Path) -> None:
    assert read_mask(path).values.dtype in (np.uint8, np.uint16)


def _masks() -> tuple[bytes, ...]:
    made = []
    for mode in ("P", "1", "L", "RGBA", "LA", "I;16"):
        buffer = io.BytesIO()
        Image.new(mode, (9, 7)).save(buffer, "PNG", bits=4) if mode == "P" else Image.new(mode, (9, 7)).save(
            buffer, "PNG"
        )
        made.append(buffer.getvalue())
    return tuple(made)


class Stranger:
    """What no reader knows."""


def _inert() -> bytes:
    buffer = io.BytesIO()
    torch.save(
        {"state_dict": {"a.weight": torch.arange(6.0).reshape(2, 3).T}, "hub": Stranger(), "n": np.float64(2)}, buffer
    )
    return buffer.getvalue()


def _onnx(path: Path) -> None:
    data = onnx_file.read(path)
    found = onnx_file.artifact(data, str(path))
    onnx_file.nodes(data)
    onnx_file.outputs(data)
    onnx_file.head(data)
    onnx_file.newer(data)
    unsigned(data)
    if found.head != "logits":
        onnx_file.without_head(data, str(path))


def _adopt(path: Path) -> None:
    adopt(path, path.with_suffix(".adopted"), normalise=False, count=1)
    onnx_file.artifact(path.with_suffix(".adopted").read_bytes(), "adopted")


def _segment(path: Path) -> None:
    with Segmenter(path, "cpu", threads=1) as segmenter:
        labels = segmenter(np.zeros((64, 64, 3), np.uint8)).labels
    assert labels.shape == (64, 64) and labels.dtype == np.uint8


def _recipe(path: Path) -> None:
    Recipe.read(path, ["data=x"])


def _edges(data: bytes) -> tuple[int, int] | None:
    """Names and shapes lie between the weights; the nodes come first, the description last."""
    return (0, 12000) if len(data) % 2 else (len(data) - 6000, len(data))


def _description(model: bytes) -> bytes:
    from fastscnn.runtime.artifacts.engine_file import EngineDescription, EngineLayer, EngineTensor, Kernels

    made = EngineDescription(
        artifact=onnx_file.artifact(model, "m"), flavour="tensorrt", version="10.3.0", targets=("sm87",), device="Orin",
        system="Linux aarch64", version_compatible=False, dla=None, precision="fp16", precision_from="inspector",
        tensors=(EngineTensor("image", False, "uint8", (1, 64, 64, 3)), EngineTensor("logits", True, "float16", (1, 19, 8, 8))),
        layers=(EngineLayer("a + b", "CaskConvolution", "fp16", ("a",)),), memory=5_000_000, options={"precision": "fp16"},
        source="m.onnx", source_sha256="0" * 64, key="1" * 64, seconds=3.5, built="2026-01-01T00:00:00+00:00", size=4,
        sha256=engine_file.digest(b"plan"), kernels=Kernels("2" * 64, {"sm87": b"\x7fELF\x00cubin"}),
    )  # fmt: skip
    return json.dumps(made.to_json(), indent=1).encode()


def _write_engine(path: Path, data: bytes) -> None:
    path.write_bytes(b"plan")
    engine_file.description_path(path).write_bytes(data)


def _safetensors() -> bytes:
    return checkpoint.SHIPPED.read_bytes()


def _checkpoints() -> tuple[bytes, ...]:
    state = {"classifier.conv.weight": torch.zeros(11, 4, 1, 1), "b.weight": torch.arange(6.0).reshape(2, 3)}
    whole = checkpoint.untrained(CAMVID).network.state_dict()
    made = []
    for content, new in (
        (whole, True),
        (state, True),
        ({"state_dict": state, "meta": {"CLASSES": CAMVID.classes}}, True),
        (state, False),
    ):
        buffer = io.BytesIO()
        torch.save(content, buffer, _use_new_zipfile_serialization=new)
        made.append(buffer.getvalue())
    return tuple(made)


def _pickled(data: bytes) -> tuple[int, int] | None:
    """The pickle, which stands before the numbers; or the archive's directory behind them."""
    return (0, min(len(data), 700)) if len(data) < 100_000 else (len(data) - 8000, len(data))


def _paddle(protocol: int) -> bytes:
    state = OrderedDict((f"layer{i}.weight", ("name", np.arange(6, dtype="f4").reshape(2, 3))) for i in range(3))
    return pickle.dumps({**state, "StructuredToParameterName@@": {"a": "b"}}, protocol)


def _image(suffix: str) -> bytes:
    return bytes(cv2.imencode(suffix, Street(64, 96).frame(0)[0])[1].tobytes())


def _video(folder: Path) -> bytes:
    path = folder / "seed.avi"
    with VideoSink(path, 25) as sink:
        for index in range(4):
            sink.write("", Street(64, 96).frame(index)[0])
    return path.read_bytes()


def _look(path: Path) -> None:
    with Source(str(path)) as source:
        for named in source:
            assert named.frame.dtype == np.uint8 and named.frame.ndim == 3


def chosen(all_of_them: list[Target], dice: random.Random) -> Target:
    return dice.choices(all_of_them, [target.share for target in all_of_them])[0]


__all__: list[Any] = ["Target", "chosen", "targets"]
