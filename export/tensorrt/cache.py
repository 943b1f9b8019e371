"""Is the engine that is asked for already there? Decided by a key over everything that shapes it."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path

from ...runtime.artifacts import engine_file
from ...runtime.artifacts.engine_file import EngineDescription
from ...runtime.artifacts.engine_fit import system
from ...runtime.artifacts.tensorrt_binding import Binding
from ...runtime.errors import ArtifactError
from ...version import __version__
from .options import BuildOptions

log = logging.getLogger(__name__)
_NOT_OF_THE_PLAN = ("timing_cache", "flavour", "targets")  # the flavour and targets that were chosen count instead


def recorded(options: BuildOptions) -> dict[str, object]:
    """The options that shape a plan, for the description and the key."""
    return {name: value for name, value in dataclasses.asdict(options).items() if name not in _NOT_OF_THE_PLAN}


def key(
    source: bytes, binding: Binding, options: BuildOptions, targets: tuple[str, ...], device: str, converter: str
) -> str:
    """sha256 over ONNX file, converter to FP16 ("" without one), flavour, version, device and options."""
    parts = {
        "source": engine_file.digest(source),
        "converter": converter,
        "flavour": binding.flavour,
        "version": binding.version,
        "targets": targets,
        "device": device,
        "system": system(),
        "options": recorded(options),
        "fastscnn": __version__,
        "format": engine_file.FORMAT,
    }
    return engine_file.digest(json.dumps(parts, sort_keys=True).encode())


def find(path: Path, wanted: str) -> tuple[bytes, EngineDescription] | None:
    """The engine at `path` where it is whole and has the wanted key."""
    if not path.exists():
        return None
    try:
        if engine_file.read_description(path).key != wanted:
            return None
        return engine_file.read(path)
    except ArtifactError as error:
        log.warning("building anew: %s", error)
        return None
