"""Tables 5 and 7 measured on this machine, the others by the commands that give them."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...export import export
from ...runtime import Segmenter, install
from ...runtime.artifacts.files import write_atomically
from ...runtime.commands import command
from ...runtime.errors import DeviceError
from .. import suite
from ..bench import benchmark, distinct_frames
from ..machine import machine
from ..report import Report
from .report import as_markdown, as_text

RESOLUTIONS = [(1024, 2048), (512, 1024), (256, 512)]
HEADS = ("cls", "prob")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser(
        "python -m fastscnn.benchmarks.paper",
        "The paper's tables 5 and 7 on this machine, beside its figures, and the commands for tables 4, 6 and the ablation.",
        "python -m fastscnn.benchmarks.paper",
        "python -m fastscnn.benchmarks.paper --checkpoint best.safetensors --data cityscapes",
    )
    parser.add_argument(
        "--burn-in", default=100, type=command.whole, metavar="N", help="frames before the clock counts"
    )
    parser.add_argument("--frames", default=100, type=command.positive, metavar="N", help="frames measured")
    parser.add_argument(
        "--res",
        nargs="+",
        default=RESOLUTIONS,
        type=command.resolution,
        metavar="HxW",
        help="default: the paper's three",
    )
    parser.add_argument("--checkpoint", type=Path, metavar="F", help="weights; default: those that ship")
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", help="also score the weights on its val split, at each size"
    )
    parser.add_argument("--threads", type=command.positive, metavar="N", help="CPU threads; default: all cores")
    command.add_device(parser)
    return suite.run("paper", parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    try:
        from ...model.checkpoint import SHIPPED, load
        from .arithmetic import arithmetic
    except ImportError as error:
        raise DeviceError(
            f"the paper's tables need torch, and {error.name} cannot be imported. Install: {install.command('train')}"
        ) from None
    folder: Path = options.output
    command.make_folder(folder)
    source = load(options.checkpoint or SHIPPED)
    report: Report = {
        "command": options.command,
        "weights": options.checkpoint.name if options.checkpoint else "those that ship, trained on CamVid",
        "data": str(options.data) if options.data else None,
        "classes": len(source.classes),
        "burn_in": options.burn_in,
        "frames": options.frames,
        "machine": machine(),
        "rows": [],
    }
    for resolution in options.res:
        counts = arithmetic(source.network, *resolution)
        row: dict[str, Any] = {
            "resolution": list(resolution),
            "parameters": counts.parameters,
            "multiply_adds": counts.multiply_adds,
            "mean_iou": _score(options, resolution) if options.data else None,
        }
        for head in HEADS:
            row[head] = _timed(head, resolution, options, report)
        report["rows"].append(row)
    report["devices"] = sorted({row[head]["device"] for row in report["rows"] for head in HEADS})
    print(as_text(report))
    command.write_json(str(folder / "paper.json"), report)
    write_atomically(folder / "paper.md", as_markdown(report).encode())


def _timed(head: str, resolution: tuple[int, int], options: argparse.Namespace, report: Report) -> dict[str, Any]:
    """Mean milliseconds of network and head alone, as the paper counts, and of the whole way from a camera's frame."""
    with tempfile.TemporaryDirectory() as temporary:
        model = export(head, resolution, options.checkpoint, output=Path(temporary) / "model.onnx")
        with Segmenter(model, options.device, threads=options.threads) as segmenter:
            device = segmenter.device
            frames, report["frames_of"] = distinct_frames(None, segmenter.artifact)
            measured, _ = benchmark(segmenter, frames, None, options.burn_in, options.frames)
    stages = measured["stages"]
    return {
        "device": device,
        "network_and_head": stages["forward"]["mean"] + stages["decode"]["mean"],
        "frame_to_result": stages["frame to result"]["mean"],
    }


def _score(options: argparse.Namespace, resolution: tuple[int, int]) -> float:
    """Mean IoU in per cent on the val split, whose images are resized to that size and labels back to theirs."""
    from ...model.checkpoint import SHIPPED, load
    from ...model.datasets import open_dataset
    from ...model.evaluate import evaluate
    from ...model.inference import Network

    dataset = open_dataset(options.data, "val")
    network = Network(load(options.checkpoint or SHIPPED, dataset.classes), "auto", resolution)
    return float(evaluate(network, dataset).as_dict()["mean_iou"]) * 100
