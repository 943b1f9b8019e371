"""`python -m fastscnn.benchmarks.int8`: what INT8 loses in accuracy and gains in time, in one run, from the weights alone."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..export import export
from ..export.quantisation import Quantised, quantise
from ..model.datasets import Dataset, open_dataset
from ..model.evaluate import evaluate
from ..runtime import Segmenter
from ..runtime.artifacts.files import write_atomically
from ..runtime.backends.cores import usable_cores
from ..runtime.backends.openvino import VARIANTS
from ..runtime.backends.openvino import installed as openvino_installed
from ..runtime.commands import command
from . import suite
from .machine import machine, sentence
from .protocol import Pipeline, measure

_BURN_IN = 3


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser(
        "int8", "Export, quantise on train images, score both on val images and time both in turns."
    )
    parser.add_argument("--data", required=True, type=Path, metavar="FOLDER", help="a data set; see fastscnn-data")
    parser.add_argument(
        "--calibration", required=True, type=Path, metavar="FOLDER", help="its train images, for the ranges"
    )
    parser.add_argument("--res", default=(720, 960), type=command.resolution, metavar="HxW", help="height x width")
    parser.add_argument("--checkpoint", type=Path, metavar="F", help="weights; default: those that ship")
    parser.add_argument("--rounds", default=30, type=command.positive, metavar="N", help="frames timed")
    parser.add_argument("--frames", type=command.positive, metavar="N", help="val images scored; default: all")
    parser.add_argument("--threads", type=command.positive, metavar="N", help="CPU threads; default: all cores")
    parser.add_argument("--sensitivity", action="store_true", help="add what each convolution alone costs")
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write the text with the command that made it")
    parser.add_argument("--json", metavar="PATH", help="write the numbers; - for stdout")
    return suite.run("int8", parser, _work, arguments, folder=False)


def _work(options: argparse.Namespace) -> None:
    command.expect_folder(options.markdown, Path(options.json) if options.json not in (None, "-") else None)
    dataset = open_dataset(options.data, "val")
    about = machine()
    with tempfile.TemporaryDirectory() as folder:
        full = export("cls", options.res, options.checkpoint, output=Path(folder) / "fp32.onnx")
        made = quantise(full, options.calibration, sensitivity=options.sensitivity, progress=True)
        models = {"FP32": full, "INT8": made.path}
        scores = {name: _scores(path, dataset, options.frames) for name, path in models.items()}
        times = _times(models, dataset, options.threads or usable_cores(), options.rounds)
    report: dict[str, Any] = {
        "command": options.command,
        "machine": about,
        "resolution": made.artifact.resolution,
        "calibration_frames": made.artifact.calibration_frames,
        "agreement": vars(made.agreement),
        "agreement_unsigned": vars(made.unsigned),
        "mean_iou": {name: found["mean_iou"] for name, found in scores.items()},
        "class_iou": {name: found["class_iou"] for name, found in scores.items()},
        "frames": scores["FP32"]["frames"],
        "milliseconds": times,
    }
    text = as_text(report, made)
    if options.json != "-":
        print(text)
    if options.json:
        command.write_json(options.json, report)
    if options.markdown:
        page = f"# INT8 beside FP32\n\nMade by `{options.command}`.\n\n```text\n{text}\n```\n"
        write_atomically(options.markdown, page.encode())


def _scores(path: Path, dataset: Dataset, frames: int | None) -> dict[str, Any]:
    with Segmenter(path, "cpu") as segmenter:
        return evaluate(lambda frame: segmenter(frame).labels, dataset, frames=frames).as_dict()


def _times(models: dict[str, Path], dataset: Dataset, threads: int, rounds: int) -> dict[str, dict[str, float]]:
    """Median and least time of the network alone and of the whole frame, by file and engine, taken in turns."""
    devices = ["cpu", *(name for name in VARIANTS if openvino_installed() and name != "openvino-gpu")]
    frames = [dataset.read(sample)[0] for sample in dataset.samples[:4]]
    opened: dict[str, Segmenter] = {}
    try:
        for name, path in models.items():
            for device in devices:
                opened[f"{name}, {device}"] = Segmenter(path, device, threads=threads)

        def timed(segmenter: Segmenter) -> Pipeline:
            return lambda frame: {"forward": segmenter(frame).timings.forward}

        pipelines = {name: timed(segmenter) for name, segmenter in opened.items()}
        with tqdm(total=_BURN_IN + rounds, unit=" rounds", desc="timing", disable=None, leave=False) as bar:
            measured = measure(pipelines, frames, burn_in=_BURN_IN, count=rounds, advance=bar.update)
    finally:
        for segmenter in opened.values():
            segmenter.close()
    return {
        name: {
            "forward": round(one.summary("forward").median, 3),
            "forward_min": round(one.summary("forward").min, 3),
            "total": round(one.summary().median, 3),
        }
        for name, one in measured.items()
    }


def as_text(report: dict[str, Any], made: Quantised) -> str:
    """The report as it stands on a terminal and in benchmarks/results."""
    full, small = (report["mean_iou"][name] for name in ("FP32", "INT8"))
    lines = [
        f"{report['resolution']}, {report['calibration_frames']} calibration frames; {sentence(report['machine'])}",
        "",
        f"mean IoU of {report['frames']} val frames: FP32 {full:.2%}, INT8 {small:.2%}: {(small - full) * 100:+.2f} points",
        *(
            f"  {name:<18}{value or 0:>8.2%}{report['class_iou']['INT8'][name] or 0:>9.2%}"
            for name, value in report["class_iou"]["FP32"].items()
        ),
        f"with FP32 on {made.held_back} held-back train frames, as TensorRT and OpenVINO read the file: {made.agreement}",
        f"the same in ONNX Runtime, unsigned: {made.unsigned}",
        "",
        f"{'milliseconds, in turns':<24}{'network':>9}{'least':>9}{'frame':>9}  against FP32 there",
    ]
    times = report["milliseconds"]
    for name, one in times.items():
        file, _, device = name.partition(", ")
        ratio = times[f"FP32, {device}"]["forward"] / one["forward"]
        gain = f"  {ratio:.2f} times as fast" if file == "INT8" else ""
        lines.append(f"{name:<24}{one['forward']:>9.2f}{one['forward_min']:>9.2f}{one['total']:>9.2f}{gain}")
    best = {file: min((t["forward"], n) for n, t in times.items() if n.startswith(file)) for file in ("FP32", "INT8")}
    (full_ms, full_name), (small_ms, small_name) = best.values()
    lines.append(
        f"the fastest INT8 ({small_name}) against the fastest FP32 file's ({full_name}): {full_ms / small_ms:.2f} times as fast"
    )
    if made.costs:
        from ..export.quantisation.sensitivity import as_text as table

        lines += ["", table(made.costs)]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
