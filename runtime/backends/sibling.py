"""An INT8 file and the FP32 file that it was made from: which is faster here? Both are timed in turns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..apart import UnansweredError, call
from ..artifacts import engine_file, onnx_file
from ..errors import FastSCNNError
from ..frame import InputLayout
from .logits import LogitsBackend
from .scene import scene

ENDING = "-int8"  # of an INT8 file's name before its suffix, as fastscnn-quantize gives it
CLEARLY = 1.05  # times as fast, from which one is told to be faster
_PATIENCE = 300.0  # seconds, for what may hold two trials


def sibling(path: str | Path) -> Path | None:
    """The INT8 file beside an FP32 one, or the FP32 file beside an INT8 one; by their names, and by the hash that the INT8 file has."""
    path = Path(path)
    quantised = path.stem.endswith(ENDING)
    other = path.with_name((path.stem.removesuffix(ENDING) if quantised else path.stem + ENDING) + path.suffix)
    if not other.is_file():
        return None
    whole, small = (other, path) if quantised else (path, other)
    try:
        described = onnx_file.artifact(onnx_file.read(small), str(small))
        made = described.precision == "int8" and described.source == engine_file.digest(onnx_file.read(whole))
    except FastSCNNError:
        return None
    return other if made else None


def beside(path: str | Path, device: str, threads: int | None) -> str:
    """How fast the file's sibling is here, a sentence; empty where it has none. Seconds."""
    other = sibling(path)
    if other is None:
        return ""
    try:
        told = call(
            "backends.sibling:compare", _PATIENCE, paths=[str(Path(path).absolute()), str(other.absolute())], device=device, threads=threads
        )  # fmt: skip
    except UnansweredError as error:
        return f"{other.name} lies beside it, and could not be timed: {error}"
    (mine, mine_on), (theirs, theirs_on) = ((one["milliseconds"], one["device"]) for one in told["files"])
    text = f"{other.name} lies beside it: {theirs:.1f} ms on {theirs_on}, against {mine:.1f} ms on {mine_on}, in turns"
    ratio = mine / theirs
    if ratio > CLEARLY:
        return f"{text}. It is {ratio:.2f} times as fast; take it with -m {other}"
    return f"{text}. " + (
        f"It is {1 / ratio:.2f} times as slow" if ratio < 1 / CLEARLY else "Neither is clearly faster"
    )


def compare(paths: list[str], device: str, threads: int | None) -> dict[str, Any]:
    """In a process of its own: the networks' medians, each on the engine that `device` gives for it."""
    from .choice import open_backend
    from .trial import timed

    opened: dict[str, LogitsBackend] = {}
    try:
        for path in paths:
            backend = open_backend(path, device, threads)
            assert isinstance(backend, LogitsBackend)  # an ONNX file's
            opened[path] = backend
        artifact = opened[paths[0]].artifact
        images = [
            InputLayout(artifact)([scene(artifact.height, artifact.width, seed)] * artifact.batch) for seed in (0, 1)
        ]
        times = timed(opened, images)
        return {"files": [{"milliseconds": times[path], "device": opened[path].device} for path in paths]}
    finally:
        for backend in opened.values():
            backend.close()
