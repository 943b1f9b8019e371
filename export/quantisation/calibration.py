"""Which frames tell an INT8 graph's ranges, and the ranges themselves."""

from __future__ import annotations

import contextlib
import hashlib
import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, TensorsData, create_calibrator

from ...runtime.artifacts.artifact import Artifact
from ...runtime.errors import SourceError
from ...runtime.frame import Frame, InputLayout, checked, fitted
from ...runtime.media.sources import IMAGES, read_image
from .qdq import OPERATORS

_HELD_BACK = 4  # every fourth frame is for the check, and not for the ranges


@dataclass(frozen=True)
class Frames:
    """Images of a folder at the model's resolution."""

    calibration: tuple[Path, ...]
    held_back: tuple[Path, ...]
    digest: str  # sha256 over the calibration frames' files

    def batches(self, paths: Sequence[Path], artifact: Artifact) -> list[NDArray[Any]]:
        """As the graph takes them; the last batch repeats its last frame."""
        frames = [fitted(checked(read_image(path)), artifact.height, artifact.width) for path in paths]
        layout, size = InputLayout(artifact), artifact.batch
        parts = [frames[start : start + size] for start in range(0, len(frames), size)]
        return [layout(_filled(part, size)) for part in parts]


def choose(folder: Path, count: int) -> Frames:
    """At most `count` images, spread evenly over the folder, or over its subfolders where it holds none itself.

    Raises:
        SourceError: no folder, fewer than two images, or one that cannot be read; names it.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder; expected one with images like those that the robot will see")
    paths = _images(folder.iterdir()) or _images(folder.rglob("*"))
    if len(paths) < 2:
        raise SourceError(
            f"{folder} holds {len(paths) or 'no'} images; expected at least 2, ending in {', '.join(IMAGES)}; 30 or more are better"
        )
    count = min(max(count, 2), len(paths))
    chosen = [paths[index * len(paths) // count] for index in range(count)]
    held_back = chosen[_HELD_BACK - 1 :: _HELD_BACK] or chosen[-1:]
    calibration = tuple(path for path in chosen if path not in held_back)
    digest = hashlib.sha256()
    for path in calibration:
        checked(read_image(path))  # here, not after minutes
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    for path in held_back:
        checked(read_image(path))
    return Frames(calibration, tuple(held_back), digest.hexdigest())


def ranges(
    network: onnx.ModelProto, images: Sequence[NDArray[Any]], percentile: float, advance: Callable[[int], object]
) -> TensorsData:
    """Of every activation: what `percentile` per cent of its values do not exceed, of all frames together.

    The few values beyond, one in ten thousand, would make every step coarser. Memory: one frame's activations.
    """
    with tempfile.TemporaryDirectory(prefix="fastscnn-") as folder:
        path = Path(folder) / "network.onnx"
        onnx.save(network, path)
        calibrator = create_calibrator(
            path,
            OPERATORS,
            str(Path(folder) / "watched.onnx"),
            CalibrationMethod.Percentile,
            extra_options={"percentile": percentile, "symmetric": True},
        )
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress, and stdout is for results
            for image in images:
                calibrator.collect_data(_Reader(image))
                calibrator.intermediate_outputs.clear()
                advance(1)
            return calibrator.compute_data()


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime has no types
    def __init__(self, image: NDArray[Any]) -> None:
        self._waiting = [image]

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return {"image": self._waiting.pop()} if self._waiting else None


def _images(paths: Any) -> list[Path]:
    return sorted(p for p in paths if p.suffix.lower() in IMAGES and p.is_file() and not p.name.startswith("."))


def _filled(frames: list[Frame], size: int) -> list[Frame]:
    return frames + frames[-1:] * (size - len(frames))
