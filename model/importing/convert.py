"""Tensors of another project's Fast-SCNN → this project's network, with nothing missing and nothing left over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from ...runtime.errors import ArtifactError
from ..network import FastSCNN
from ..variant import PAPER, Variant
from .containers import Content
from .sources import SOURCES, Source

_CLASSIFIER = "classifier.conv.weight"
_COUNTER = "num_batches_tracked"  # of batch norm; only training reads it, and Paddle has none


@dataclass(frozen=True)
class Converted:
    """A network in evaluation mode, and what its file was."""

    network: FastSCNN
    source: Source
    taken: int  # tensors
    left_out: tuple[str, ...]  # in words

    def __str__(self) -> str:
        left_out = f"; left out: {', '.join(self.left_out)}" if self.left_out else ""
        return f"found {self.source.project}: {self.network.classes} classes, {self.taken} tensors taken{left_out}"


def converted(path: Path, content: Content) -> Converted:
    """Recognise the source by its names, check every shape, and fill the network.

    Raises:
        ArtifactError: an unknown network, or tensors missing, left over, of another shape or not finite; by name.
    """
    source = _recognised(path, content.tensors)
    names = source.names(_own_names(source.variant))
    auxiliary = [name for name in content.tensors if name.startswith(source.auxiliary)] if source.auxiliary else []
    required = [foreign for own, foreign in names.items() if not own.endswith(_COUNTER)]
    advice = f" {source.advice}." if source.advice else ""
    for what, wrong in (
        ("misses", [name for name in required if name not in content.tensors]),
        ("has, beyond the network,", content.tensors.keys() - set(names.values()) - set(auxiliary)),
    ):
        if wrong:
            raise ArtifactError(
                f"{path} is {source.project} by its names, but {what} {_listed(wrong)}; expected it as published.{advice}"
            )
    classes = next(iter(content.tensors[names[_CLASSIFIER]].shape), 0)
    try:
        network = FastSCNN(classes, source.variant)
    except ValueError as error:
        raise ArtifactError(f"{path} has {error}") from error
    state = network.state_dict()
    for own, expected in state.items():
        found = content.tensors.get(names[own])
        if found is None:
            continue
        if found.shape != expected.shape:
            raise ArtifactError(
                f"{path}: {names[own]} has shape {tuple(found.shape)}; expected {tuple(expected.shape)} of "
                f"{source.project}.{advice}"
            )
        if not bool(torch.isfinite(found).all()):
            raise ArtifactError(f"{path}: {names[own]} holds numbers that are not finite; the training went wrong")
        state[own] = found
    network.load_state_dict(state)
    left_out = [f"{len(auxiliary)} tensors of auxiliary heads"] if auxiliary else []
    left_out += [f"the prefix {content.prefix!r}"] if content.prefix else []
    taken = len(content.tensors.keys() & set(names.values()))
    return Converted(network.eval(), source, taken, (*left_out, *content.beside))


def _recognised(path: Path, tensors: Mapping[str, Tensor]) -> Source:
    """The source most of whose names are there."""

    def share(source: Source) -> float:
        names = set(source.names(_own_names(source.variant)).values())
        return len(names & tensors.keys()) / len(names)

    if set(_own_names(PAPER)) <= tensors.keys():
        raise ArtifactError(f"{path} is a checkpoint of this project already; use it as it is")
    best = max(SOURCES, key=share)
    if share(best) < 0.5:
        raise ArtifactError(
            f"{path} has {len(tensors)} tensors such as {_listed(tensors)}, which no known Fast-SCNN has; "
            f"expected a checkpoint of {', '.join(source.project for source in SOURCES)}"
        )
    return best


@cache
def _own_names(variant: Variant) -> tuple[str, ...]:
    with torch.device("meta"):  # without memory or initial values
        return tuple(FastSCNN(variant=variant).state_dict())


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:3]) + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "")
