"""`python -m fastscnn.benchmarks.robustness`: mean IoU on labelled pictures that are foggy, noisy, blurred, dark and so on."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...model.datasets import open_dataset
from ...model.evaluate import evaluate, predictor
from ...runtime import install
from ...runtime.artifacts.files import write_atomically
from ...runtime.commands import command
from ...runtime.errors import DeviceError, UsageError
from .. import suite
from ..machine import machine
from .corruptions import CORRUPTIONS, SEVERITIES, Corrupted
from .report import as_markdown, as_table

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser(
        "python -m fastscnn.benchmarks.robustness",
        "Score models on labelled pictures under eight corruptions, side by side.",
        "python -m fastscnn.benchmarks.robustness --data camvid",
        "python -m fastscnn.benchmarks.robustness old.safetensors new.safetensors --data camvid --every 4",
    )
    parser.add_argument(
        "models", nargs="*", type=Path, metavar="MODEL", help="weights, ONNX files or engines; default: what ships"
    )
    parser.add_argument("--data", required=True, type=Path, metavar="FOLDER", help="a data set; see fastscnn-data")
    parser.add_argument("--split", default="val", help="which part of it")
    parser.add_argument("--every", default=1, type=command.positive, metavar="N", help="only each N-th picture")
    parser.add_argument(
        "--corruptions", nargs="+", default=list(CORRUPTIONS), choices=CORRUPTIONS, metavar="NAME", help="not all eight"
    )
    parser.add_argument("--severity", default=3, type=int, choices=SEVERITIES, help="from 1 to 5")
    parser.add_argument("--seed", default=0, type=command.whole, metavar="N", help="of the random numbers")
    command.add_device(parser)
    return suite.run("robustness", parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    models = options.models or [_shipped()]
    names = [model.name for model in models]
    if len(set(names)) < len(names):  # as best.safetensors of several runs
        names = [str(model) for model in models]
    command.make_folder(options.output)
    dataset = open_dataset(options.data, options.split)
    dataset = dataclasses.replace(dataset, samples=dataset.samples[:: options.every])
    if not dataset.samples:
        raise UsageError(f"{options.split} of {options.data} has no pictures; expected labelled ones")
    fields = {field.name: getattr(dataset, field.name) for field in dataclasses.fields(dataset)}
    report: dict[str, Any] = {
        "command": options.command,
        "machine": machine(),
        "data": f"{dataset.kind}, {options.split}",
        "frames": len(dataset),
        "severity": options.severity,
        "seed": options.seed,
        "scores": {},
    }
    for name, model in zip(names, models, strict=True):
        with predictor(model, dataset, options.device) as predict:
            scores = report["scores"][name] = {}
            for corruption in ("", *options.corruptions):
                corrupted = Corrupted(**fields, corruption=corruption, severity=options.severity, seed=options.seed)
                found = evaluate(predict, corrupted, worst=1).as_dict()
                scores[corruption or "none"] = {key: found[key] for key in ("mean_iou", "pixel_accuracy", "class_iou")}
                log.info("%s, %s: %.1f%%", name, corruption or "none", 100 * found["mean_iou"])
    print(as_table(report))
    command.write_json(str(options.output / "robustness.json"), report)
    write_atomically(options.output / "robustness.md", as_markdown(report).encode())


def _shipped() -> Path:
    try:
        from ...model.checkpoint import SHIPPED
    except ImportError as error:
        raise DeviceError(
            f"the weights that ship need torch, which cannot be imported ({error}). Install: {install.command('train')}"
        ) from None
    return SHIPPED
