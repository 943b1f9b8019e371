"""The files that checkpoints come in, reduced to tensors by name and what is said about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...runtime.artifacts.artifact import printable
from ...runtime.artifacts.files import whole
from ...runtime.errors import ArtifactError
from ...runtime.text import shown
from ..checkpoint import EXPECTED, MAXIMUM_BYTES, plain, unpickled
from . import paddle

_WRAPPED = (
    "state_dict",
    "model_state_dict",
    "model",
    "network",
    "net",
)  # under which training scripts keep the weights
_PREFIXES = ("module.", "_orig_mod.")  # of several GPUs, of compiled networks


@dataclass(frozen=True)
class Content:
    """A checkpoint file's weights and what stood beside them."""

    tensors: dict[str, Tensor]
    prefix: str = ""  # that every name began with, removed here
    beside: tuple[str, ...] = ()  # entries that are no weights of the network: an optimiser's state, an epoch
    classes: tuple[str, ...] | None = None  # where the file names them
    palette: tuple[tuple[int, int, int], ...] | None = None


def read(path: Path) -> Content:
    """Read `.pth`, `.pt`, `.pdparams` or `.safetensors`; nothing in the file is run.

    Raises:
        ArtifactError: no such file, damaged, or without tensors.
    """
    if not path.is_file():
        raise ArtifactError(f"{path} is not a file; expected a checkpoint (.pth, .pdparams). Check the path")
    if path.suffix == ".pdparams":
        content: Any = {name: torch.from_numpy(array) for name, array in paddle.read(path).items()}
    elif path.suffix == ".safetensors":
        content = _safetensors(path)
    else:
        content = unpickled(path)
    if not isinstance(content, Mapping):
        raise ArtifactError(f"{path} holds a {type(content).__name__}; expected a state dict of tensors by name")
    wrapped = next((key for key in _WRAPPED if isinstance(content.get(key), Mapping)), None)
    state = content if wrapped is None else content[wrapped]
    beside = () if wrapped is None else tuple(str(key) for key in content if key != wrapped)
    strange = [f"{name!s:.80}" for name, value in state.items() if not isinstance(value, Tensor) or not plain(value)]
    if strange or not state:
        raise ArtifactError(
            f"{path} has {', '.join(strange[:3]) or 'nothing'} where weights were expected; "
            "expected a state dict of tensors by name, alone or as 'state_dict'"
        )
    tensors, prefix = _without_prefix({str(name): tensor for name, tensor in state.items()})
    classes, palette = _meaning(content)
    return Content(tensors, prefix, beside, classes, palette)


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return dict(load(whole(path, MAXIMUM_BYTES, EXPECTED)))
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise ArtifactError(f"{path} is truncated or not safetensors ({shown(error):.300}); copy it again") from error


def _without_prefix(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    removed = ""
    while prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in tensors)), ""):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        removed += prefix
    return tensors, removed


def _meaning(content: Mapping[Any, Any]) -> tuple[tuple[str, ...] | None, tuple[tuple[int, int, int], ...] | None]:
    """Class names and colours as MMSegmentation's checkpoints carry them."""
    meta = content.get("meta")
    if not isinstance(meta, Mapping):
        return None, None
    inner = meta.get("dataset_meta")
    described = inner if isinstance(inner, Mapping) else meta
    found: dict[str, Any] = {str(key).lower(): value for key, value in described.items()}
    names, colours = found.get("classes"), found.get("palette", ())
    if not isinstance(names, (list, tuple)) or not all(printable(name) for name in names):
        return None, None
    try:
        palette = tuple((int(r), int(g), int(b)) for r, g, b in colours)
    except (TypeError, ValueError):
        return tuple(names), None
    return tuple(names), palette if len(palette) == len(names) else None
