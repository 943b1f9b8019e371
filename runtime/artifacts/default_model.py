"""The model that commands run when none is given: the weights that ship, exported once for each shape of image.

A robot without PyTorch exports nothing; for it one file of them ships ready.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import subprocess
import sys
from pathlib import Path

from ...version import __version__
from .. import install
from ..errors import ArtifactError, DeviceError, OutputError
from .files import unwritable

log = logging.getLogger(__name__)

_WEIGHTS = Path(__file__).parents[2] / "model" / "weights" / "camvid.safetensors"
_READY = _WEIGHTS.with_name("camvid-cls-640x960-fp16.onnx")
_EXPORTING = ("torch", "onnx", "safetensors")  # packages
_HEIGHT = 720  # what they were trained to see; the width follows the image, so that nothing is stretched
_STEP, _WIDEST = 32, 4096


def default_model(frame_size: tuple[int, int]) -> Path:
    """An ONNX file with the arg-max head for frames of (height, width); from the user's cache, or exported into it.

    The export runs in a process of its own, because this floor of the package has no torch. Where there is none at all,
    it is `ready_model`.

    Raises:
        ArtifactError: a file that ships is missing.
        OutputError: the cache cannot be written.
    """
    height, width = frame_size
    across = min(max(round(_HEIGHT * width / height / _STEP), 2), _WIDEST // _STEP) * _STEP
    digest = hashlib.sha256(_shipped(_WEIGHTS).read_bytes()).hexdigest()[:8]
    path = cache() / f"fastscnn-{__version__}-{digest}-cls-{_HEIGHT}x{across}.onnx"
    if path.is_file():
        return path
    if not all(map(importlib.util.find_spec, _EXPORTING)):
        return _without_export(f"PyTorch is not installed. To have one: {install.command('export')}")
    log.info("no --model: exporting the weights that ship (CamVid's 11 classes, research use) to %s", path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{unwritable(path.parent, error)}, by XDG_CACHE_HOME for one, or give a model (--model)"
        ) from error
    program = [sys.executable, "-m", "fastscnn.export.exporter", "--head", "cls", "--res", f"{_HEIGHT}x{across}"]
    # In the cache folder, because `-m` would take a folder called fastscnn where the user stands for the package.
    done = subprocess.run([*program, "-o", path.name], cwd=path.parent, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        if done.returncode == DeviceError.exit_code:
            return _without_export(reason)
        raise OutputError(f"no --model was given, and the weights that ship could not be exported here. {reason}")
    return path


def ready_model() -> Path:
    """An ONNX file that ships and needs no export: arg-max head, 640x960, CamVid's 11 classes, for research.

    with Segmenter(ready_model()) as segmenter:
        result = segmenter(frame)

    Raises:
        ArtifactError: it is missing.
    """
    return _shipped(_READY)


def _shipped(path: Path) -> Path:
    if not path.is_file():
        raise ArtifactError(f"{path} is missing, which this package brings. Install it again: {install.again()}")
    return path


def _without_export(reason: str) -> Path:
    model = ready_model()
    log.info(
        "no --model: taking %s, which ships (CamVid's 11 classes, research use). None is exported for frames of this shape: %s",
        model.name,
        reason,
    )
    return model


def cache() -> Path:
    """The user's cache folder of this package, which may not exist yet.

    Raises:
        OutputError: neither XDG_CACHE_HOME nor a home folder is known.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "fastscnn"
    except RuntimeError:  # a container's user who is in no list, and no HOME
        raise OutputError(
            "this user has no home folder for the cache; expected one in HOME or XDG_CACHE_HOME. Set one of them, or give a model"
        ) from None
