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
from ...runtime.errors import ArtifactError, UsageError
from ...runtime.text import shown
from ..checkpoint import EXPECTED, MAXIMUM_BYTES, expect_no_module, plain, unpickled
from . import paddle

# Under which training scripts keep the weights, the likeliest first.
_WRAPPED = ("state_dict", "model_state_dict", "model", "network", "net")
# Averaged ones, taken where there are no others, or where asked for.
_AVERAGED = ("ema_state_dict", "state_dict_ema", "model_ema", "ema")
_PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.")  # of several GPUs, compiled networks, Lightning
_MOST = 0.9  # share of the names that a prefix must be before
_COUNTERS = ("steps", "n_averaged")  # of averages, among the weights


@dataclass(frozen=True)
class Content:
    """A checkpoint file's weights and what stood beside them."""

    tensors: dict[str, Tensor]
    prefix: str = ""  # that every name began with, removed here
    beside: tuple[str, ...] = ()  # entries that are no weights of the network: an optimiser's state, an epoch
    classes: tuple[str, ...] | None = None  # where the file names them
    palette: tuple[tuple[int, int, int], ...] | None = None


def read(path: Path, *, ema: bool = False) -> Content:
    """Read `.pth`, `.pt`, `.ckpt`, `.pdparams` or `.safetensors`; nothing in the file is run.

    Args:
        ema: the averaged weights, where the file has others, too.

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
        content = unpickled(path, inert=True)
        expect_no_module(path, content)
    if not isinstance(content, Mapping):
        raise ArtifactError(f"{path} holds a {type(content).__name__}; expected a state dict of tensors by name")
    order = (*_AVERAGED, *_WRAPPED) if ema else (*_WRAPPED, *_AVERAGED)
    inside = [key for key in order if isinstance(content.get(key), Mapping)]
    wrapped = next((key for key in inside if _weights(content[key])), inside[0] if inside else None)
    if ema and wrapped not in _AVERAGED:
        raise UsageError(
            f"{path} has no averaged weights ({', '.join(_AVERAGED)}); expected some for --ema. Leave it out"
        )
    state = content if wrapped is None else content[wrapped]
    beside = () if wrapped is None else tuple(str(key) for key in content if key != wrapped)
    state = {str(name): value for name, value in state.items() if name not in _COUNTERS}
    strange = [f"{name:.80}" for name, value in state.items() if not isinstance(value, Tensor) or not plain(value)]
    if strange or not state:
        raise ArtifactError(
            f"{path} has {', '.join(strange[:3]) or 'nothing'} where weights were expected; "
            "expected a state dict of tensors by name, alone or as 'state_dict'"
        )
    tensors, prefix, others = _without_prefix(state)
    beside += others
    classes, palette = _meaning(content)
    return Content(tensors, prefix, beside, classes, palette)


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return dict(load(whole(path, MAXIMUM_BYTES, EXPECTED)))
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise ArtifactError(f"{path} is truncated or not safetensors ({shown(error):.300}); copy it again") from error


def _weights(state: Mapping[Any, Any]) -> bool:
    return any(isinstance(value, Tensor) for value in state.values())


def _without_prefix(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], str, tuple[str, ...]]:
    """Without what the weights' names begin with, and the few tensors that do not, such as a loss's own weights."""
    removed, others = "", list[str]()
    while prefix := next((p for p in _PREFIXES if sum(n.startswith(p) for n in tensors) > _MOST * len(tensors)), ""):
        others += [name for name in tensors if not name.startswith(prefix)]
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        removed += prefix
    return tensors, removed, tuple(others)


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
