"""An engine and its description: `engine.plan` is TensorRT's bytes as they are, `engine.plan.json` tells what they are.

A prefix inside the plan would break `trtexec --loadEngine`. The description carries the plan's sha256, so the two are
only ever taken together, and the decode kernels compiled for the engine's GPUs: the pair is all that a robot needs.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ArtifactError
from ..text import shown
from .artifact import Artifact, Rules, expect, printable
from .files import complete_sets, held, there, whole, write_together
from .onnx_file import LOGITS
from .tensorrt_binding import FLAVOURS

FORMAT = 1  # of the description
MAXIMUM_BYTES = 2 << 30  # of a plan
_LONGEST_DESCRIPTION = 64 << 20  # most of it the kernels' binaries
DTYPES = ("uint8", "float16", "float32", "int32", "int64")
PRECISIONS = ("fp16", "fp32", "int8", "mixed")
_LARGEST_TENSOR = 1 << 40  # elements
_AGAIN = "Build it again with fastscnn-trt build"


@dataclass(frozen=True)
class EngineTensor:
    """An input or output, as TensorRT names it."""

    name: str
    output: bool
    dtype: str  # one of DTYPES, NumPy's names
    shape: tuple[int, ...]


@dataclass(frozen=True)
class EngineLayer:
    """A layer as the engine runs it; one layer may stand for many nodes of the graph."""

    name: str
    kind: str
    precision: str | None  # "fp16", "fp32", "int8", ... or None where it is not told
    convolutions: tuple[str, ...]  # the graph's convolutions that it computes


@dataclass(frozen=True)
class Kernels:
    """Decode kernels, compiled: the source's digest and one binary for each target."""

    digest: str
    binaries: Mapping[str, bytes]  # "sm86" → cubin


@dataclass(frozen=True)
class EngineDescription:
    """What an engine was built with and for.

    Raises:
        ArtifactError: when a field holds what no builder of this project writes.
    """

    artifact: Artifact  # of the model; its `precision` is the one that was asked for
    flavour: str  # one of tensorrt_binding.FLAVOURS
    version: str  # of TensorRT
    targets: tuple[str, ...]  # compute capabilities that it runs on, such as "sm87"
    device: str  # name of the GPU that built it, or "" where none was needed
    system: str  # such as "Linux aarch64"
    version_compatible: bool
    dla: int | None  # core, or None for the GPU
    precision: str  # achieved: "int8" where some are FP16 too, "mixed" where convolutions differ otherwise
    precision_from: str  # "inspector": read off the engine; "types": fixed by the strongly typed network
    tensors: tuple[EngineTensor, ...]
    layers: tuple[EngineLayer, ...]
    memory: int | None  # bytes of activations on the device; None where no device could tell
    options: Mapping[str, Any]  # of the build
    source: str  # the ONNX file's name
    source_sha256: str
    key: str  # of all that decides about the plan; see fastscnn.export.tensorrt.cache
    seconds: float  # that the build took
    built: str  # when, ISO 8601 UTC
    size: int  # of the plan, bytes
    sha256: str  # of the plan
    kernels: Kernels | None

    def __post_init__(self) -> None:
        expect(_RULES, self, "the engine", _AGAIN)

    @property
    def head_inside(self) -> bool:
        """Whether the engine computes the head itself, or ends at the logits and leaves it to the decode."""
        return [tensor.name for tensor in self.tensors if tensor.output] != [LOGITS]

    def to_json(self) -> dict[str, Any]:
        """The artefact's fields, one key each, then `engine`, `kernels` and `layers`."""
        engine = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name in ("artifact", "kernels", "layers"):
            del engine[name]
        engine["tensors"] = [dataclasses.asdict(tensor) for tensor in self.tensors]
        kernels = self.kernels and {
            "digest": self.kernels.digest,
            **{target: base64.b64encode(data).decode() for target, data in self.kernels.binaries.items()},
        }
        return {
            **dataclasses.asdict(self.artifact),
            "format": FORMAT,
            "engine": engine,
            "kernels": kernels,
            "layers": [dataclasses.asdict(layer) for layer in self.layers],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any], source: str) -> EngineDescription:
        """Read back what `to_json` gave; `source` names the file in messages.

        Raises:
            ArtifactError: another format, a missing or unknown key, a value of the wrong kind.
        """
        if content.get("format") != FORMAT:
            raise ArtifactError(
                f"{source} is no engine description of this version (format {content.get('format')!r}); expected format {FORMAT}. {_AGAIN}"
            )
        try:
            engine = dict(content["engine"])
            engine["targets"] = tuple(engine["targets"])
            engine["tensors"] = tuple(EngineTensor(**{**t, "shape": tuple(t["shape"])}) for t in engine["tensors"])
            layers = tuple(EngineLayer(**{**e, "convolutions": tuple(e["convolutions"])}) for e in content["layers"])
            binaries = dict(content["kernels"] or {})
            digest = binaries.pop("digest", None)
            kernels = (
                None
                if digest is None
                else Kernels(digest, {t: base64.b64decode(b, validate=True) for t, b in binaries.items()})
            )
            fields = {
                field.name: content[field.name]
                for field in dataclasses.fields(Artifact)
                if field.name in content or field.default is dataclasses.MISSING  # one with a default is younger
            }
            return cls(artifact=Artifact.from_fields(fields), layers=layers, kernels=kernels, **engine)
        except KeyError as error:
            raise ArtifactError(f"{source} lacks {shown(error):.100}; it was cut or edited. {_AGAIN}") from None
        except (TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ArtifactError(f"{source} cannot be understood ({shown(error):.300}). {_AGAIN}") from None


def description_path(plan: str | Path) -> Path:
    """`engine.plan` → `engine.plan.json`."""
    return Path(f"{plan}.json")


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read(path: str | Path) -> tuple[bytes, EngineDescription]:
    """An engine's bytes and its description, which belong together.

    Raises:
        ArtifactError: one of the two is missing, damaged, or was made for the other's like.
    """
    path = Path(path)
    folder = path.resolve().parent
    try:
        return _read(path)
    except ArtifactError:
        if not folder.is_dir():
            raise
    with held(folder):  # a build may have been replacing the pair at that moment, or have died over it
        complete_sets(folder)
        return _read(path)


def _read(path: Path) -> tuple[bytes, EngineDescription]:
    description = read_description(path)
    plan = whole(path, MAXIMUM_BYTES, "an engine of this project")
    if digest(plan) == description.sha256:
        return plan, description
    raise ArtifactError(
        f"{path} ({len(plan):,} bytes) is not the engine that {description_path(path).name} describes "
        f"({description.size:,} bytes, sha256 {description.sha256[:12]}…): it is damaged, was replaced without its "
        f"description, or another build is replacing it. Copy both files again, or build again with fastscnn-trt build"
    )


def read_description(path: str | Path) -> EngineDescription:
    """The description beside an engine, without reading the engine.

    Raises:
        ArtifactError: missing or damaged.
    """
    beside = description_path(path)
    if there(path) and Path(path).is_file() and not there(beside):
        raise ArtifactError(
            f"{path} has no description beside it ({beside.name}); expected both files that fastscnn-trt build wrote. "
            "Copy both, or build the engine again from its ONNX file"
        )
    if not there(path):
        raise ArtifactError(
            f"{path} does not exist; expected an engine. Write one with: fastscnn-trt build model.onnx -o {path}"
        )
    try:
        content = json.loads(whole(beside, _LONGEST_DESCRIPTION, "an engine's description"))
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{beside} is not JSON ({shown(error):.300}); it is damaged. {_AGAIN}") from None
    if not isinstance(content, dict):
        raise ArtifactError(f"{beside} holds no description. {_AGAIN}")
    return EngineDescription.from_json(content, str(beside))


def write(path: str | Path, plan: bytes, description: EngineDescription) -> None:
    """Put both files in place, together: of two builds at once one whole pair remains.

    Raises:
        OutputError: no such folder, no permission, no space; the old pair stays.
    """
    text = json.dumps(description.to_json(), indent=1) + "\n"
    write_together({Path(path): plan, description_path(path): text.encode()})


def _hash(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _target(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"sm[0-9]{2,3}[a-z]?", value) is not None


def _tensor(value: EngineTensor) -> bool:
    return (
        printable(value.name)
        and isinstance(value.output, bool)
        and value.dtype in DTYPES
        and all(type(side) is int and side > 0 for side in value.shape)
        and math.prod(value.shape) < _LARGEST_TENSOR
    )


def _layer(value: EngineLayer) -> bool:
    """TensorRT's own names, which are long and hold separators; print them through `text.shown`."""
    texts = (value.name, value.kind, *value.convolutions, "" if value.precision is None else value.precision)
    return all(isinstance(text, str) for text in texts)


def _kernels(value: Kernels | None) -> bool:
    return value is None or (_hash(value.digest) and all(map(_target, value.binaries)))


def _file_name(value: Any) -> bool:
    return printable(value) and value not in ("", ".", "..") and not set(value) & set("/\\")


_RULES: Rules = {
    "flavour": (f"one of {', '.join(FLAVOURS)}", lambda value: value in FLAVOURS),
    "targets": ("compute capabilities such as sm87", lambda value: len(value) > 0 and all(map(_target, value))),
    "version_compatible": ("true or false", lambda value: isinstance(value, bool)),
    "dla": ("a core's number or null", lambda value: value is None or _count(value)),
    "precision": (f"one of {', '.join(PRECISIONS)}", lambda value: value in PRECISIONS),
    "precision_from": ("inspector or types", lambda value: value in ("inspector", "types")),
    "tensors": ("inputs and outputs of fixed shape", lambda value: len(value) > 1 and all(map(_tensor, value))),
    "layers": ("a name and a kind each", lambda value: all(map(_layer, value))),
    "memory": ("bytes or null", lambda value: value is None or _count(value)),
    "options": ("an object", lambda value: isinstance(value, Mapping)),
    "seconds": ("a number", lambda value: isinstance(value, (int, float)) and 0 <= value < 1e9),
    "size": ("bytes", _count),
    **dict.fromkeys(("sha256", "source_sha256", "key"), ("64 hexadecimal digits", _hash)),
    "kernels": ("the sources' digest and a binary for each compute capability", _kernels),
    "source": ("the name of a file in the engine's folder", _file_name),
    **dict.fromkeys(("version", "device", "system", "built"), ("a short text of one line", printable)),
}
