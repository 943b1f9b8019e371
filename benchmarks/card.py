"""`python -m fastscnn.benchmarks.card`: the figures and the picture of a card for weights, from what was measured."""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ..model.datasets import open_dataset
from ..model.evaluate import evaluate, reliability
from ..runtime import install
from ..runtime.artifacts.files import write_atomically
from ..runtime.commands import command
from ..runtime.errors import DeviceError, UsageError
from ..runtime.media.sources import Source
from ..runtime.result import painted
from . import suite
from .machine import machine, sentence

if TYPE_CHECKING:
    from ..model.inference import Network

_FRAMES = 24  # of the clip, evenly spaced, of which three are shown
_WIDTH, _QUALITY = 640, 85
_SEEDS = "seed "  # how settings begin that differ in nothing else


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser(
        "python -m fastscnn.benchmarks.card",
        "Write a card's figures: scores by class, by drive and by seed, calibration, robustness, and three frames of a clip.",
        "python -m fastscnn.benchmarks.card runs/final/final.safetensors --data camvid --folds runs/folds/settings.json",
    )
    parser.add_argument("weights", nargs="?", type=Path, metavar="F", help="a checkpoint; default: what ships")
    parser.add_argument("--data", required=True, type=Path, metavar="FOLDER", help="a data set; see fastscnn-data")
    parser.add_argument("--split", default="val", help="which part of it is scored")
    parser.add_argument("--folds", type=Path, metavar="JSON", help="what fastscnn-train --folds wrote")
    parser.add_argument("--robustness", type=Path, metavar="JSON", help="what benchmarks.robustness wrote")
    parser.add_argument("--clip", metavar="INPUT", help="a video whose frames may be shown")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="what to run on")
    return suite.run("card", parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    try:
        from ..model.calibration import HEADS
        from ..model.checkpoint import SHIPPED, load
        from ..model.inference import Network
    except ImportError as error:
        raise DeviceError(f"weights need {error.name}. Install: {install.command('train')}") from None
    command.make_folder(options.output)
    folds, robustness = (_read(path) for path in (options.folds, options.robustness))
    path: Path = options.weights or SHIPPED
    dataset = open_dataset(options.data, options.split)
    source = load(path, dataset.classes)
    networks = {head: Network(replace(source, network=source.network_for(head)), options.device) for head in HEADS}
    scores = evaluate(networks["cls"], dataset).as_dict()
    sure = {head: reliability(network.sure, dataset).as_dict() for head, network in networks.items()}
    data = path.read_bytes()
    lines = [
        f"# Figures of `{path.name}`",
        "",
        f"Made by `{options.command}`.",
        "",
        f"{len(data) / 1e6:.2f} MB, sha256 `{hashlib.sha256(data).hexdigest()}`. IoU in per cent on {options.split} ({scores['frames']} frames"
        f"{f'; {_said(folds)}' if folds else ''}).",
        "",
        *_classes(scores, folds, options.split),
        "",
        f"Pixel accuracy {scores['pixel_accuracy']:.1%}.",
        "",
        *_calibration(sure, source.temperature, folds, options.split),
    ]
    if robustness:
        lines += ["", *_corrupted(robustness)]
    if options.clip:
        picture, ranked = _picture(options.clip, networks["prob"], source.classes.palette)
        name = f"{path.stem}-clip.jpg"
        write_atomically(options.output / name, picture)
        shown = ", ".join(f"frame {frame} ({share:.0%})" for frame, share in ranked)
        lines += [
            "",
            f"![the surest, a middling and the least sure frame]({name})",
            "",
            f"By mean confidence: {shown}.",
        ]
    lines += ["", f"{sentence(machine())}.", ""]
    text = "\n".join(lines)
    print(text)
    write_atomically(options.output / "card.md", text.encode())


def _read(path: Path | None) -> Any:
    if path is None:
        return None
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path} cannot be read as JSON ({error}); expected a report of the command that --help names"
        ) from error


def _said(folds: Mapping[str, Any]) -> str:
    first = next(iter(folds.values()))
    return f"beside it the cross-validation, whose runs did not see the drive that scores them: {', '.join(first['mean_iou'])}"


def _classes(scores: Mapping[str, Any], folds: Mapping[str, Any] | None, split: str) -> Iterator[str]:
    """A row for each class, the mean last; by drive, with the spread over drives and over seeds where several ran."""
    first = next(iter(folds.values())) if folds else {"class_iou": {}, "mean_iou": {}}
    drives = list(first["class_iou"])
    yield f"| class | {split}{''.join(f' | {drive}' for drive in drives)}{' | mean and spread over drives' if drives else ''} |"
    yield "|---" + "|---:" * (1 + len(drives) + bool(drives)) + "|"
    for name, value in [*scores["class_iou"].items(), ("**mean**", scores["mean_iou"])]:
        found = [first["class_iou"][drive].get(name, first["mean_iou"][drive]) for drive in drives]
        cells = [_percent(value), *map(_percent, found)]
        if drives:
            known = [100 * share for share in found if share is not None]
            cells.append(f"{statistics.mean(known):.1f} ± {statistics.pstdev(known):.1f}" if known else "–")
        yield f"| {name} | {' | '.join(cells)} |"
    seeds = {name: one for name, one in (folds or {}).items() if name.startswith(_SEEDS) and one["mean_iou"]}
    if folds and seeds:
        means = [100 * statistics.mean(one["mean_iou"].values()) for one in (first, *seeds.values())]
        yield ""
        yield (
            f"Over {len(means)} seeds the mean over drives is {statistics.mean(means):.1f}, standard deviation {statistics.stdev(means):.1f} "
            f"({', '.join(f'{mean:.1f}' for mean in means)})."
        )


def _calibration(
    sure: Mapping[str, Mapping[str, float]],
    temperature: tuple[float, float],
    folds: Mapping[str, Any] | None,
    split: str,
) -> Iterator[str]:
    yield f"| expected calibration error, % | {split}, as the file is | temperature in the file | by drive, without | by drive, with |"
    yield "|---|---:|---:|---:|---:|"
    first = next(iter(folds.values())).get("calibration", {}) if folds else {}
    for (head, found), divisor in zip(sure.items(), temperature, strict=True):
        fit = first.get(head, {})
        cells = [
            _percent(found["expected_calibration_error"]),
            f"{divisor:.3f}",
            _percent(fit.get("before")),
            _percent(fit.get("after")),
        ]
        yield f"| {head} head | {' | '.join(cells)} |"


def _corrupted(report: Mapping[str, Any]) -> Iterator[str]:
    from .robustness.report import as_table

    yield f"Under corruptions, severity {report['severity']} of 5, {report['frames']} frames of {report['data']}, mean IoU in per cent:"
    yield ""
    yield as_table(dict(report))


def _picture(
    clip: str, network: Network, palette: Sequence[tuple[int, int, int]]
) -> tuple[bytes, list[tuple[int, float]]]:
    """The surest, the middling and the least sure of some frames, each above its overlay; JPEG, and which they are."""
    with Source(clip) as opened:
        frames = [named.frame for named in opened]
    seen = []
    for index in sorted({round(place) for place in np.linspace(0, len(frames) - 1, _FRAMES)}):
        labels, confidence = network.sure(frames[index])
        seen.append((float(confidence.mean()), index, labels))
    seen.sort(key=lambda one: -one[0])
    chosen = [seen[0], seen[len(seen) // 2], seen[-1]]
    columns = []
    for _, index, labels in chosen:
        laid = cv2.addWeighted(painted(labels, palette), 0.5, frames[index], 0.5, 0)
        size = (_WIDTH, round(_WIDTH * labels.shape[0] / labels.shape[1]))
        columns.append(
            np.vstack([cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in (frames[index], laid)])
        )
    picture = cv2.imencode(".jpg", np.hstack(columns), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
    return bytes(picture), [(index, share) for share, index, _ in chosen]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


if __name__ == "__main__":
    raise SystemExit(main())
