"""`fastscnn-trt verify`: does the engine compute what ONNX Runtime and PyTorch compute on the same frames?

The best reference that is given leads: PyTorch with a checkpoint, else ONNX Runtime. Each other is compared with it.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ...model.metrics import Confusion
from ...model.street import Street
from ...runtime import install
from ...runtime.artifacts import engine_file, onnx_file
from ...runtime.artifacts.artifact import Artifact
from ...runtime.artifacts.engine_file import EngineDescription
from ...runtime.artifacts.engine_fit import misfits
from ...runtime.artifacts.trust import expect_trust
from ...runtime.backends.agreement import clear, share
from ...runtime.backends.cores import usable_cores
from ...runtime.backends.onnxruntime import open_session
from ...runtime.backends.tensorrt import TensorRTBackend
from ...runtime.decode.decoder import Decoder, argmax
from ...runtime.errors import ArtifactError, DeviceError, ParityError, UsageError
from ...runtime.frame import InputLayout, fitted, restored
from ...runtime.media.sources import Named, Source
from ..tolerance import TOLERANCE

log = logging.getLogger(__name__)
Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Answer:
    """What one side makes of a frame, at the model's resolution."""

    labels: Labels  # (H, W)
    logits: NDArray[np.float32] | None  # (C, ~H/8, ~W/8); None where the engine ends in its head


@dataclass
class Comparison:
    """One side against the reference, over all frames."""

    side: str
    reference: str
    tolerance: float
    frames: int = 0
    logits: float | None = None  # largest difference, as a share of the reference's range
    differing: int = 0  # pixels with another label
    clearly: int = 0  # of these, pixels where the reference's two best classes lie further apart than the tolerance
    pixels: int = 0

    @property
    def agreement(self) -> float:
        """Share of pixels with the same label."""
        return 1 - self.differing / max(self.pixels, 1)

    @property
    def passed(self) -> bool:
        close = self.logits is None or self.logits <= self.tolerance  # false for NaN
        return self.frames > 0 and close and self.clearly == 0

    def add(self, answer: Answer, expected: Answer, clear: NDArray[np.bool_]) -> None:
        differing = answer.labels != expected.labels
        self.frames += 1
        self.pixels += differing.size
        self.differing += int(differing.sum())
        self.clearly += int((differing & clear).sum())
        if answer.logits is not None and expected.logits is not None:
            self.logits = float(np.maximum(share(answer.logits, expected.logits), self.logits or 0.0))  # keeps NaN

    def __str__(self) -> str:
        error = (
            ""
            if self.logits is None
            else f"logits within {self.logits:.1e} of their range (bound {self.tolerance:.0e}), "
        )
        return (
            f"{self.side} against {self.reference} on {self.frames} frames: {error}labels equal on {self.agreement:.4%} of pixels"
            + (f", {self.clearly:,} of the others not being ties" if self.clearly else "")
        )


@dataclass
class Verification:
    """What was compared, and what kept the engine itself from running here, if anything did."""

    comparisons: list[Comparison] = field(default_factory=list)
    mean_iou: dict[str, float] = field(default_factory=dict)  # by side, where labels were given
    misfits: list[str] = field(default_factory=list)

    def expect_success(self, path: str | Path) -> None:
        """Raise what the command ends with.

        Raises:
            ParityError: a side that parts from the reference.
            DeviceError: the engine could not run here, so it is not verified.
        """
        failed = [str(comparison) for comparison in self.comparisons if not comparison.passed]
        if failed:
            raise ParityError(
                f"{path} is not equal to its source: {'; '.join(failed)}. In FP16 a layer may overflow: build with --precision fp32 to see"
            )
        if self.misfits:
            raise DeviceError(
                f"{path} itself was not verified, because it cannot run here: {'; '.join(self.misfits)}. Verify it on its device"
            )


Side = Callable[[NDArray[np.generic]], list[Answer]]  # a batch as the graph takes it → an answer a frame


def verify(
    engine: str | Path,
    onnx: str | Path | None = None,
    checkpoint: str | Path | None = None,
    frames: str | Path | None = None,
    labels: str | Path | None = None,
    count: int = 4,
    *,
    trust: bool = False,
) -> Verification:
    """Compare. On a machine that cannot run the engine the others are compared all the same.

    Args:
        onnx: default: the file that the engine was built from, in the engine's folder.
        checkpoint: the weights that the ONNX file was exported from; adds PyTorch.
        frames: image, folder or video; default: a drawn street.
        labels: folder of grey PNGs of train ids, named like the frames.
        count: how many frames at most.
        trust: open a version-compatible engine, which brings native code of its own.

    Raises:
        ArtifactError: a damaged engine, one that is not trusted, or files that it was not built from.
        UsageError: labels without frames.
    """
    _, description = engine_file.read(engine)
    expect_trust(description, str(engine), trust)
    if labels is not None and frames is None:
        raise UsageError("--labels belong to frames of your own; give them with --frames")
    result = Verification(misfits=misfits(description))
    artifact = description.artifact
    tolerance = TOLERANCE["int8" if description.precision == "int8" else artifact.precision]
    with contextlib.ExitStack() as stack:
        sides: dict[str, Side] = {}  # the first is the reference
        decoder = Decoder.of(artifact, usable_cores())
        stack.callback(decoder.close)
        if checkpoint is not None:
            sides["PyTorch"] = _pytorch(Path(checkpoint), artifact, decoder)
        sides["ONNX Runtime"] = _onnx(_source(Path(engine), onnx, description), artifact, decoder)
        if not result.misfits:
            try:
                backend = stack.enter_context(contextlib.closing(TensorRTBackend(engine, decode=False, trust=trust)))
                sides["the engine"] = _engine(backend, decoder)
            except DeviceError as error:  # such as pycuda that is missing; the others are compared all the same
                result.misfits.append(str(error))
        names = list(sides)
        result.comparisons = [Comparison(name, names[0], tolerance) for name in names[1:]]
        scores = {name: Confusion(len(artifact.classes)) for name in names}
        chosen = itertools.islice(_frames(frames, artifact), count)
        for batch in iter(lambda: list(itertools.islice(chosen, artifact.batch)), []):
            image = _batch(batch, artifact)
            answers = [side(image)[: len(batch)] for side in sides.values()]  # a padded batch ends later
            _compare(answers, artifact, result.comparisons)
            if labels is not None:
                _score(batch, answers, Path(labels), list(scores.values()))
        if labels is not None:
            result.mean_iou = {name: confusion.mean_iou() for name, confusion in scores.items()}
    return result


def _batch(frames: Sequence[Named], artifact: Artifact) -> NDArray[np.generic]:
    fit = [fitted(named.frame, artifact.height, artifact.width) for named in frames]
    return InputLayout(artifact)(fit + fit[-1:] * (artifact.batch - len(fit)))


def _compare(answers: Sequence[Sequence[Answer]], artifact: Artifact, comparisons: Sequence[Comparison]) -> None:
    """A batch: the answers of each side, the reference's first."""
    expected, *others = answers
    size = (artifact.height, artifact.width)
    distinct: list[NDArray[np.bool_]] = []
    for answer in expected if comparisons else []:
        assert answer.logits is not None, "a reference always tells its logits"
        distinct.append(clear(answer.logits, size, comparisons[0].tolerance, artifact.align_corners))
    for given, comparison in zip(others, comparisons, strict=True):
        for answer, reference, apart in zip(given, expected, distinct, strict=True):
            comparison.add(answer, reference, apart)


def _score(
    frames: Sequence[Named], answers: Sequence[Sequence[Answer]], folder: Path, scores: Sequence[Confusion]
) -> None:
    for given, confusion in zip(answers, scores, strict=True):
        for named, answer in zip(frames, given, strict=True):
            truth = _truth(folder, named, len(confusion.counts))
            confusion.add(truth, restored(answer.labels, *truth.shape))


def _truth(folder: Path, named: Named, classes: int) -> Labels:
    path = folder / f"{Path(named.name).stem}.png"
    truth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if truth is None or truth.ndim != 2 or truth.dtype != np.uint8:
        raise UsageError(f"{path} is no grey image of train ids; expected one named like the frame {named.name}")
    if np.any((truth >= classes) & (truth != 255)):
        raise UsageError(
            f"{path} holds ids up to {truth[truth != 255].max()}; expected train ids below {classes}, or 255"
        )
    return np.asarray(truth, np.uint8)


def _frames(source: str | Path | None, artifact: Artifact) -> Iterator[Named]:
    if source is None:
        street = Street(artifact.height, artifact.width)
        yield from (Named(f"street {index}", street.frame(index * 10)[0]) for index in itertools.count())
    else:
        with Source(str(source)) as opened:
            yield from opened


def _source(engine: Path, onnx: str | Path | None, description: EngineDescription) -> tuple[bytes, str]:
    path = Path(onnx) if onnx is not None else engine.with_name(description.source)
    if onnx is None and not path.exists():
        raise ArtifactError(f"{path}, which the engine was built from, is not beside it; name it with --onnx")
    model = onnx_file.read(path)
    if engine_file.digest(model) != description.source_sha256:
        raise ArtifactError(
            f"{path} is not the file that the engine was built from (sha256 {engine_file.digest(model)[:12]}…, expected "
            f"{description.source_sha256[:12]}…). Name the right one with --onnx, or build the engine anew"
        )
    return model, str(path)


def _answers(logits: NDArray[np.generic], decoder: Decoder) -> list[Answer]:
    return [Answer(decoder.labels(one), one) for one in np.asarray(logits, np.float32)]


def _onnx(source: tuple[bytes, str], artifact: Artifact, decoder: Decoder) -> Side:
    model, name = source
    network = model if artifact.head == "logits" else onnx_file.without_head(model, name)
    session = open_session(network, name, "cpu", usable_cores())
    return lambda image: _answers(session.run([onnx_file.LOGITS], {"image": image})[0], decoder)


def _pytorch(path: Path, artifact: Artifact, decoder: Decoder) -> Side:
    try:
        import torch

        from ...model import checkpoint as checkpoints
        from ..model import normalised
    except ImportError as error:
        raise DeviceError(f"comparing with PyTorch needs {error.name}. Install: {install.command('export')}") from None
    source = checkpoints.load(path)
    if source.digest != artifact.checkpoint:
        raise ArtifactError(
            f"{path} is not the checkpoint that the model was exported from; expected sha256 {artifact.checkpoint[:12]}…"
        )
    network = source.network_for(artifact.head).eval()

    def run(image: NDArray[np.generic]) -> list[Answer]:
        planes = (
            normalised(np.asarray(image), artifact)
            if artifact.input == "uint8"
            else torch.from_numpy(np.asarray(image))
        )
        with torch.inference_mode():
            return _answers(network(planes).numpy(), decoder)

    return run


def _engine(backend: TensorRTBackend, decoder: Decoder) -> Side:
    def run(image: NDArray[np.generic]) -> list[Answer]:
        raw = backend.run(image)
        if raw.logits is not None:
            return _answers(raw.logits, decoder)
        if raw.labels is not None:
            return [Answer(labels, None) for labels in raw.labels]
        assert raw.probabilities is not None
        return [Answer(np.asarray(argmax(one), np.uint8), None) for one in raw.probabilities]

    return run
