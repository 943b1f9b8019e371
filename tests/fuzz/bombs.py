"""In a process whose memory is bounded: files that claim far more than they hold. Prints each case's outcome as JSON.

python bombs.py FOLDER
"""

from __future__ import annotations

import io
import json
import pickle
import resource
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from fastscnn.export import export
from fastscnn.export.adopt import adopt
from fastscnn.model import checkpoint
from fastscnn.model.datasets import read_classes
from fastscnn.model.importing import containers, import_checkpoint
from fastscnn.model.training.recipe import Recipe
from fastscnn.runtime import FastSCNNError, Segmenter
from fastscnn.runtime.artifacts import engine_file
from fastscnn.runtime.media.sources import read_image

HUGE = 100_000
MEMORY = 3 << 30  # bytes of address space beyond what the imports took

Case = tuple[str, Callable[[], object]]


def main(folder: Path) -> None:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    sound = onnx.load(export("cls", (64, 64), classes="cityscapes", output=folder / "sound.onnx"))
    with Segmenter(folder / "sound.onnx", "cpu", threads=1) as segmenter:
        segmenter(np.zeros((64, 64, 3), np.uint8))
    theirs = onnx.ModelProto()
    theirs.CopyFrom(onnx.load(export("cls", (64, 64), input="float", classes="cityscapes", output=folder / "t.onnx")))
    del theirs.metadata_props[:]
    adopt(_written(theirs, folder / "t.onnx"), folder / "adopted.onnx", normalise=False)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY,) * 2)
    both = [*models(folder, sound, _segmented), *models(folder, theirs, _adopted)]
    for name, read in [*images(folder), *both, *checkpoints(folder), *texts(folder)]:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            read()
            outcome, message = "read", ""
        except FastSCNNError as error:
            outcome, message = "refused", str(error)
        except BaseException as error:
            outcome, message = type(error).__name__, str(error)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(
            json.dumps({"case": name, "outcome": outcome, "message": message[:300], "megabytes": grown / 1024}),
            flush=True,
        )


def images(folder: Path) -> Iterator[Case]:
    row = zlib.compress(bytes(1000))
    header = struct.pack(">IIBBBBB", HUGE, HUGE, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", row), (b"IEND", b""))
    )
    small = np.zeros((8, 8, 3), np.uint8)
    jpg = bytearray(cv2.imencode(".jpg", small)[1].tobytes())
    start = jpg.index(b"\xff\xc0")
    jpg[start + 5 : start + 9] = struct.pack(">HH", 65500, 65500)
    bmp = bytearray(cv2.imencode(".bmp", small)[1].tobytes())
    bmp[18:26] = struct.pack("<ii", HUGE, HUGE)
    tif = bytearray(cv2.imencode(".tif", small, [cv2.IMWRITE_TIFF_COMPRESSION, 1])[1].tobytes())
    at = struct.unpack_from("<I", tif, 4)[0]
    for entry in range(struct.unpack_from("<H", tif, at)[0]):
        place = at + 2 + 12 * entry
        if struct.unpack_from("<H", tif, place)[0] in (256, 257):  # width, height
            struct.pack_into("<HII", tif, place + 2, 4, 1, HUGE)
    for suffix, data in ((".png", png), (".jpg", jpg), (".bmp", bmp), (".tif", tif)):
        path = folder / f"huge{suffix}"
        path.write_bytes(bytes(data))
        yield f"image{suffix}", lambda path=path: read_image(path)


def _written(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def _segmented(path: Path) -> None:
    with Segmenter(path, "cpu", threads=1) as segmenter:
        segmenter(np.zeros((64, 64, 3), np.uint8))


def _adopted(path: Path) -> None:
    adopt(path, path.with_suffix(".adopted"), normalise=False, count=1)


def models(folder: Path, sound: onnx.ModelProto, read: Callable[[Path], None]) -> Iterator[Case]:
    def case(name: str, change: Callable[[onnx.ModelProto], object]) -> Case:
        model = onnx.ModelProto()
        model.CopyFrom(sound)
        change(model)
        path = _written(model, folder / f"{name}{read.__name__}.onnx")
        return f"onnx {name}{read.__name__}", lambda: read(path)

    def constant(model: onnx.ModelProto, name: str, value: Any) -> str:
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def folded(model: onnx.ModelProto, kind: str, inputs: list[str], **attributes: Any) -> None:
        """A constant that an engine computes when it opens the file."""
        model.graph.node.insert(0, helper.make_node(kind, inputs, ["bomb"], name="bomb", **attributes))
        model.graph.value_info.append(helper.make_tensor_value_info("bomb", TensorProto.FLOAT, None))

    def claims(model: onnx.ModelProto) -> None:
        model.graph.initializer[0].dims[:] = [HUGE, HUGE]

    def described(model: onnx.ModelProto) -> None:
        for entry in model.metadata_props:
            if entry.key in ("fastscnn.height", "fastscnn.width"):
                entry.value = "65536"

    def edited(model: onnx.ModelProto, kind: str, change: Callable[[onnx.NodeProto], object]) -> None:
        change(next(node for node in model.graph.node if node.op_type == kind))

    def pads(node: onnx.NodeProto) -> None:
        next(a for a in node.attribute if a.name == "pads").ints[:] = [HUGE] * 4

    def sizes(model: onnx.ModelProto) -> None:
        tensor = next(
            t for t in model.graph.initializer if t.name.endswith(".sizes") and not t.name.startswith("head.")
        )
        tensor.CopyFrom(numpy_helper.from_array(np.array([1, 128, HUGE, HUGE]), tensor.name))

    def elsewhere(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "../../../../../../dev/zero"

    column, line = np.zeros((HUGE, 1), np.float32), np.zeros((1, HUGE), np.float32)
    yield case("a tensor of 100,000 x 100,000", claims)
    yield case("padding", lambda m: edited(m, "Conv", pads))
    yield case("a resize", sizes)
    yield case("weights in another file", elsewhere)
    if read is _adopted:  # which leaves out what no result hangs on
        return
    yield case("a description of 65,536 x 65,536", described)
    yield case(
        "a product of constants", lambda m: folded(m, "MatMul", [constant(m, "a", column), constant(m, "b", line)])
    )
    yield case("a sum of constants", lambda m: folded(m, "Add", [constant(m, "a", column), constant(m, "b", line)]))
    yield case("a filled constant", lambda m: folded(m, "ConstantOfShape", [constant(m, "a", np.array([HUGE, HUGE]))]))
    yield case("a loop", lambda m: folded(m, "Loop", ["", ""], body=helper.make_graph([], "g", [], [])))
    yield case("a function", lambda m: m.functions.append(onnx.FunctionProto(name="f")))


def checkpoints(folder: Path) -> Iterator[Case]:
    def case(name: str, suffix: str, data: bytes, read: Callable[[Path], object]) -> Case:
        path = folder / f"{name}{suffix}"
        path.write_bytes(data)
        return f"{suffix} {name}", lambda: read(path)

    buffer = io.BytesIO()
    torch.save({"classifier.conv.weight": torch.zeros(1).expand(2**40, 1, 1, 1)}, buffer)
    yield case("a classifier of 2^40 classes", ".pth", buffer.getvalue(), checkpoint.load)
    yield case(
        "the same, imported", ".pth", buffer.getvalue(), lambda p: import_checkpoint(p, folder / "x.safetensors")
    )
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(buffer.getvalue())) as source,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for entry in source.namelist():
            target.writestr(entry, source.read(entry) if "/data/" not in entry else bytes(1 << 30))
    yield case("a gigabyte packed", ".pth", packed.getvalue(), checkpoint.load)
    header = json.dumps({"a": {"dtype": "F32", "shape": [HUGE, HUGE], "data_offsets": [0, 4 * HUGE * HUGE]}}).encode()
    yield case("claims", ".safetensors", struct.pack("<Q", len(header)) + header, checkpoint.load)
    yield case("a header of 2^60 bytes", ".safetensors", struct.pack("<Q", 1 << 60) + header, checkpoint.load)
    for name, program in (
        (
            "a memo of 2^31 entries",
            pickle.PROTO + b"\x04" + pickle.EMPTY_DICT + pickle.LONG_BINPUT + struct.pack("<I", 1 << 31),
        ),
        ("a text of 2^40 bytes", pickle.PROTO + b"\x04" + pickle.BINBYTES8 + struct.pack("<Q", 1 << 40)),
        ("a byte array of 2^40 bytes", pickle.PROTO + b"\x05" + pickle.BYTEARRAY8 + struct.pack("<Q", 1 << 40)),
    ):
        yield case(name, ".pdparams", program + pickle.STOP, containers.read)


def texts(folder: Path) -> Iterator[Case]:
    laughs = "a0: &a0 [ha, ha]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
    merges = "a0: &a0 {x: 1}\n" + "".join(
        f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 30)
    )
    for name, text in (
        ("laughs", laughs),
        ("merges", merges),
        ("depth", "[" * 100_000),
        ("digits", "seed: " + "9" * 100_000),
    ):
        path = folder / f"{name}.yaml"
        path.write_text(text)
        yield f"recipe of {name}", lambda path=path: Recipe.read(path)
        yield f"classes of {name}", lambda path=path: read_classes(path)
    plan = folder / "e.plan"
    plan.write_bytes(b"plan")
    for name, text in (("depth", '{"a":' * 100_000), ("digits", '{"format": ' + "9" * 100_000 + "}")):

        def read(text: str = text) -> None:
            engine_file.description_path(plan).write_text(text)
            engine_file.read(plan)

        yield f"description of {name}", read


if __name__ == "__main__":
    main(Path(sys.argv[1]))
