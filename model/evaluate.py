"""`fastscnn-eval`: how well a checkpoint, an ONNX file or an engine segments labelled images."""

from __future__ import annotations

import argparse
import heapq
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..runtime import Segmenter, install
from ..runtime.artifacts.artifact import Artifact
from ..runtime.artifacts.files import write_atomically
from ..runtime.commands import command
from ..runtime.errors import DeviceError, UsageError
from ..runtime.frame import Frame
from .classes import CITYSCAPES, ClassSet
from .datasets import CITYSCAPES_IDS, Dataset, open_dataset
from .metrics import CITYSCAPES_CATEGORIES, Confusion, mean_iou
from .reliability import Reliability, reliability_picture

log = logging.getLogger(__name__)

Labels = NDArray[np.uint8]
Predict = Callable[[Frame], Labels]  # uint8 (H, W, 3) BGR → uint8 (H, W) train ids
Sure = Callable[[Frame], tuple[Labels, NDArray[np.float32]]]  # → the same, and each one's probability
CHECKPOINTS = (".safetensors", ".pth", ".pt")


@dataclass
class Scores:
    """What an evaluation found."""

    classes: ClassSet
    confusion: Confusion
    frames: int = 0
    worst: list[tuple[float, str]] = field(default_factory=list)  # (mIoU of the frame, its name), worst first

    def as_dict(self) -> dict[str, Any]:
        """For a report; scores of classes that never occur are null."""
        iou = self.confusion.class_iou().tolist()
        found = {
            "frames": self.frames,
            "mean_iou": _number(self.confusion.mean_iou()),
            "pixel_accuracy": _number(self.confusion.pixel_accuracy()),
            "class_iou": {name: _number(value) for name, value in zip(self.classes.classes, iou, strict=True)},
            "worst": [{"name": name, "mean_iou": _number(score)} for score, name in self.worst],
        }
        if self.classes.classes == CITYSCAPES.classes:
            categories = self.confusion.category_iou(CITYSCAPES_CATEGORIES)
            found["category_iou"] = {name: _number(value) for name, value in categories.items()}
            found["mean_category_iou"] = _number(float(np.nanmean(list(categories.values()))))
        return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser(
        "fastscnn-eval",
        "Score a checkpoint, an ONNX file or an engine on labelled images.",
        "fastscnn-eval weights.safetensors --data camvid -o scores",
        "fastscnn-eval model.onnx --data camvid --device cpu",
    )
    parser.add_argument(
        "model", type=Path, metavar="MODEL", help="weights (.safetensors, .pth) or a file that runs (.onnx, .plan)"
    )
    parser.add_argument("--data", required=True, type=Path, metavar="FOLDER", help="a data set; see fastscnn-data")
    parser.add_argument("--split", default="val", help="which part of it")
    parser.add_argument("--coarse", action="store_true", help="Cityscapes' coarse labels")
    parser.add_argument(
        "--res",
        type=command.resolution,
        metavar="HxW",
        help="of the network, for checkpoints; default: what they were trained to see, else each image's own",
    )
    parser.add_argument("--flip", action="store_true", help="average with the mirrored image (checkpoints)")
    parser.add_argument(
        "--scales", nargs="+", type=_scale, default=[1.0], metavar="S", help="average over these sizes (checkpoints)"
    )
    parser.add_argument(
        "--zero-skip", action="store_true", help="without the skip connection, the paper's ablation (checkpoints)"
    )
    command.add_device(parser)
    command.add_trust(parser)
    parser.add_argument("--frames", type=command.positive, metavar="N", help="only the first N")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FOLDER", help="write scores, confusion matrix and the worst images there"
    )
    parser.add_argument("--worst", type=command.positive, default=8, metavar="N", help="how many of the worst images")
    parser.add_argument(
        "--submission", type=Path, metavar="FOLDER", help="write label PNGs with Cityscapes' original ids"
    )
    parser.add_argument(
        "--calibration", action="store_true", help="also how far confidence is from being right as often as it says"
    )
    parser.add_argument(
        "--calibrated",
        type=Path,
        metavar="F",
        help="write the checkpoint with temperatures fitted to this data, by cross-validation over its drives",
    )
    parser.add_argument("--json", metavar="PATH", help="write the scores; - for stdout")
    return command.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    command.expect_folder(Path(options.json) if options.json not in (None, "-") else None, options.calibrated)
    if options.calibrated and options.model.suffix not in CHECKPOINTS:
        raise UsageError(
            f"--calibrated writes a checkpoint, and {options.model} is none; calibrate the weights and export them again"
        )
    dataset = open_dataset(options.data, options.split, coarse=options.coarse)
    with _predictor(options, dataset) as predict:
        if options.output:
            command.make_folder(options.output)
        scores = evaluate(predict, dataset, worst=options.worst, frames=options.frames, submission=options.submission)
        if options.json != "-":
            print(as_text(scores))
        calibration = _calibration(options, dataset, predict) if options.calibration or options.calibrated else {}
        if options.output:
            _write_folder(options.output, scores, dataset, predict)
    if options.json:
        command.write_json(
            options.json,
            {
                "model": options.model.name,
                "data": str(options.data),
                "split": options.split,
                **scores.as_dict(),
                **calibration,
            },
        )


def evaluate(
    predict: Predict,
    dataset: Dataset,
    *,
    worst: int = 8,
    frames: int | None = None,
    submission: Path | None = None,
    progress: bool = True,
) -> Scores:
    """Stream the data set through `predict`; memory does not grow with the number of frames.

    Raises:
        SourceError: a file that cannot be read; fastscnn-data lists them all.
        OutputError: a submission that cannot be written.
    """
    scores = Scores(dataset.classes, Confusion(len(dataset.classes)))
    heap: list[tuple[float, str]] = []  # the best of the worst on top
    if submission:
        table = _original_ids(dataset)
        command.make_folder(submission)
    samples = dataset.samples[:frames]
    for sample in tqdm(samples, unit=" images", desc=dataset.kind, disable=None if progress else True):
        image, truth = dataset.read(sample)
        predicted = predict(image)
        one = mean_iou(scores.confusion.add(truth, predicted))
        scores.frames += 1
        if not np.isnan(one):
            (heapq.heappush if len(heap) < worst else heapq.heappushpop)(heap, (-one, sample.name))
        if submission:
            write_atomically(submission / f"{sample.name}.png", cv2.imencode(".png", table[predicted])[1].tobytes())
    scores.worst = sorted((-score, name) for score, name in heap)
    return scores


def as_text(scores: Scores) -> str:
    found = scores.as_dict()
    lines = [f"{name:<20}{_percent(value)}" for name, value in found["class_iou"].items()]
    lines.append(f"{'mean IoU':<20}{_percent(found['mean_iou'])}")
    if "mean_category_iou" in found:
        lines.append(f"{'category IoU':<20}{_percent(found['mean_category_iou'])}")
    lines.append(f"{'pixel accuracy':<20}{_percent(found['pixel_accuracy'])}")
    return "\n".join([f"{scores.frames} frames, {scores.classes.name}", *lines])


def _calibration(options: argparse.Namespace, dataset: Dataset, predict: Predict) -> dict[str, Any]:
    """How reliable confidence is, as it is printed and for the report; writes what the options name."""
    found: dict[str, Reliability] = {}
    report: dict[str, Any] = {}
    if options.model.suffix in CHECKPOINTS:
        from dataclasses import replace

        from .calibration import HEADS, calibrated
        from .checkpoint import load, save
        from .inference import Network

        source = load(options.model, dataset.classes)
        for head in HEADS:
            network = Network(replace(source, network=source.network_for(head)), options.device, options.res)
            found[f"{head} head"] = reliability(network.sure, dataset, options.frames)
        if options.calibrated:
            made, fits = calibrated(source, dataset, options.device)
            save(options.calibrated, made)
            report["fitted"] = {head: vars(fit) for head, fit in fits.items()}
            for head, fit in fits.items():
                log.info("%s head without a temperature: %s", head, fit)
            log.info("wrote %s", options.calibrated)
    else:
        assert isinstance(predict, Exported)
        found[f"{predict.head} head"] = reliability(predict.sure, dataset, options.frames)
    report |= {name: counted.as_dict() for name, counted in found.items()}
    if options.json != "-":
        for name, counted in found.items():
            print(f"{name + ' calibration error':<24}{counted.error():7.2%}")
    if options.output:
        write_atomically(options.output / "reliability.png", reliability_picture(found))
    return {"calibration": report}


def reliability(sure: Sure, dataset: Dataset, frames: int | None = None) -> Reliability:
    """Count how often `sure` is right over the data set.

    Raises:
        SourceError: a file that cannot be read.
    """
    found = Reliability()
    for sample in tqdm(dataset.samples[:frames], unit=" images", desc="calibration", disable=None):
        image, truth = dataset.read(sample)
        labels, confidence = sure(image)
        counted = truth != dataset.classes.ignore
        found.add(confidence[counted], (labels == truth)[counted])
    return found


def _predictor(options: argparse.Namespace, dataset: Dataset) -> AbstractContextManager[Predict]:
    return predictor(
        options.model,
        dataset,
        options.device,
        options.res,
        flip=options.flip,
        scales=options.scales,
        zero_skip=options.zero_skip,
        trust=options.trust,
        confident=options.calibration,
    )


def predictor(
    model: Path,
    dataset: Dataset,
    device: str = "auto",
    resolution: tuple[int, int] | None = None,
    *,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
    zero_skip: bool = False,
    trust: bool = False,
    confident: bool = False,
) -> AbstractContextManager[Predict]:
    """A checkpoint in PyTorch (see `Network`), or an exported file on its engine, as a function from frames to labels.

    Args:
        confident: have an engine compute confidence, too.

    Raises:
        DeviceError: torch is not installed, or the engine does not run here.
        UsageError: other classes than the data's, or options that need a checkpoint.
        ArtifactError: the file is neither.
    """
    if model.suffix in CHECKPOINTS:
        try:
            from .checkpoint import load
            from .inference import Network
        except ImportError as error:
            raise DeviceError(
                f"checkpoints need torch, which cannot be imported ({error}). Install: {install.command('train')}"
            ) from None
        source = load(model, dataset.classes)
        return nullcontext(Network(source, device, resolution, flip=flip, scales=scales, zero_skip=zero_skip))
    if flip or list(scales) != [1.0] or resolution or zero_skip:
        raise UsageError(
            f"{model} runs at its own resolution; --res, --flip, --scales and --zero-skip need a checkpoint"
        )
    return Exported(model, dataset.classes, device, trust, confident)


class Exported(AbstractContextManager["Exported"]):
    """A Segmenter as a function from frames to labels."""

    def __init__(self, path: Path, classes: ClassSet, device: str, trust: bool, confident: bool) -> None:
        self._segmenter = Segmenter(path, device, trust=trust, unknown_below=0.0 if confident else None)
        log.info("scoring on %s", self._segmenter.device)  # of reduced precision, maybe
        artifact: Artifact = self._segmenter.artifact
        if artifact.classes != classes.classes:
            self._segmenter.close()
            raise UsageError(
                f"{path} was made for {artifact.class_set} ({len(artifact.classes)} classes), but the data has {classes.name} "
                f"({len(classes)}); expected the same classes"
            )

    def __enter__(self) -> Exported:
        return self

    def __call__(self, frame: Frame) -> Labels:
        return self._segmenter(frame).labels

    @property
    def head(self) -> str:
        return self._segmenter.artifact.head

    def sure(self, frame: Frame) -> tuple[Labels, NDArray[np.float32]]:
        """Labels, and the probability of each: of the prob head its own, else `Result.confidence_map`."""
        result = self._segmenter(frame)
        if result.probabilities is not None:
            return result.labels, result.probabilities.max(axis=0)
        return result.labels, (result.confidence_map() / 255).astype(np.float32)

    def __exit__(self, *_: object) -> None:
        self._segmenter.close()


def _original_ids(dataset: Dataset) -> Labels:
    """Train id → the number that Cityscapes' server expects."""
    if dataset.classes.classes != CITYSCAPES.classes:
        raise UsageError(f"--submission writes Cityscapes' ids, but the data has the classes of {dataset.classes.name}")
    table = np.zeros(256, np.uint8)
    table[: len(CITYSCAPES_IDS)] = CITYSCAPES_IDS
    return table


def _write_folder(folder: Path, scores: Scores, dataset: Dataset, predict: Predict) -> None:
    from .pictures import comparison, confusion_picture

    write_atomically(folder / "scores.json", (json.dumps(scores.as_dict(), indent=2) + "\n").encode())
    write_atomically(folder / "confusion.csv", scores.confusion.as_csv(dataset.classes).encode())
    write_atomically(folder / "confusion.png", confusion_picture(scores.confusion, dataset.classes))
    by_name = {sample.name: sample for sample in dataset.samples}
    for place, (score, name) in enumerate(scores.worst, start=1):
        image, truth = dataset.read(by_name[name])
        picture = comparison(image, truth, predict(image), dataset.classes)
        write_atomically(folder / f"worst-{place:02d}-{score:.3f}-{name}.png", picture)
    log.info("wrote %s", folder)


def _scale(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 10:
        raise argparse.ArgumentTypeError(f"{text!r} is not a scale; expected a number from 0.1 to 10")
    return value


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 12)


def _percent(value: float | None) -> str:
    return "      –" if value is None else f"{value:7.2%}"


__all__ = ["Scores", "as_text", "evaluate", "main"]
