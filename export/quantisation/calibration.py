"""Which frames tell an INT8 graph's ranges, and the ranges themselves."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator
from onnxruntime.quantization.calibrate import TensorsData  # 1.17 has it here alone

from ...model.datasets import open_dataset
from ...runtime.artifacts.artifact import Artifact
from ...runtime.errors import SourceError, UsageError
from ...runtime.frame import Frame, InputLayout, checked, fitted
from ...runtime.media.sources import IMAGES, read_image
from .qdq import OPERATORS

log = logging.getLogger(__name__)

_HELD_BACK = 4  # every fourth frame is for the check, and not for the ranges
_FEW = 8  # frames, of which two would check
_CONTRAST = 2.0  # standard deviation of a channel; a covered camera's noise stays below, a night street lies above 10
_COLOURS = 64  # that a picture of labels has at most, and a camera's frame has many times over
# Folders and endings by which public data sets name their labels.
_LABELS = re.compile(
    r"(^|/)(labels?|masks?|annotations?|gtFine|gtCoarse|SegmentationClass|SegmentationObject|[^/]+annot)/"
    r"|_(labelIds|labelTrainIds|instanceIds|color|L)$",
    re.IGNORECASE,
)


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

    Of a data set's root they are its training images. What no camera gives is left out and named: blank frames, frames
    that were there already, pictures of labels.

    Raises:
        SourceError: no folder, fewer than two images that serve, or one that cannot be read; names it.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder; expected one with images like those that the robot will see")
    paths = _images(folder.iterdir()) or _of_a_data_set(folder) or _unlabelled(folder)
    if len(paths) < 2:
        raise SourceError(
            f"{folder} holds {len(paths) or 'no'} images; expected at least 2, ending in {', '.join(IMAGES)}; 30 or more are better"
        )
    count = min(max(count, 2), len(paths))
    chosen, told = _serving([paths[index * len(paths) // count] for index in range(count)])
    if len(chosen) < 2:
        raise SourceError(
            f"{folder} holds {'one image that tells' if chosen else 'no images that tell'} a range: {told}; "
            "expected at least 2 different frames of what the robot sees"
        )
    if told:
        log.warning("left out: %s", told)
    if len(chosen) < _FEW:
        log.warning("%d frames are few: the ranges may not hold for others; 30 or more are better", len(chosen))
    held_back = list(chosen)[_HELD_BACK - 1 :: _HELD_BACK] or list(chosen)[-1:]
    calibration = tuple(path for path in chosen if path not in held_back)
    digest = hashlib.sha256(b"".join(chosen[path] for path in calibration))
    return Frames(calibration, tuple(held_back), digest.hexdigest())


def _serving(paths: Sequence[Path]) -> tuple[dict[Path, bytes], str]:
    """Those that tell a range, with the sha256 of their files, and in words what the others are."""
    kept: dict[Path, bytes] = {}
    others: dict[str, list[Path]] = {}
    for path in paths:
        frame = checked(read_image(path))
        digest = hashlib.sha256(path.read_bytes()).digest()
        if fault := "equal to others" if digest in kept.values() else _fault(frame):
            others.setdefault(fault, []).append(path)
        else:
            kept[path] = digest
    return kept, "; ".join(
        f"{len(found)} {fault} ({found[0].name}{', …' * (len(found) > 1)})" for fault, found in others.items()
    )


def _fault(frame: Frame) -> str:
    """What makes a picture none that a camera took, if anything."""
    if frame.std(axis=(0, 1)).max() < _CONTRAST:
        return "blank, as behind a lens cap"
    blue, green, red = (frame[..., channel].astype(np.uint32) for channel in range(3))
    if len(np.unique(blue << 16 | green << 8 | red)) <= _COLOURS:
        return f"of {_COLOURS} colours or fewer, as pictures of labels are"
    return ""


def _of_a_data_set(root: Path) -> list[Path]:
    """Its training images, if `root` has the layout of one; else of another part that it has."""
    for split in ("train", "val", "test"):
        with contextlib.suppress(UsageError):
            return [sample.image for sample in open_dataset(root, split).samples]
    return []


def _unlabelled(folder: Path) -> list[Path]:
    """All images below a folder but those whose names say that they are labels."""
    found = _images(folder.rglob("*"))
    return [path for path in found if not _LABELS.search(path.relative_to(folder).with_suffix("").as_posix())]


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
