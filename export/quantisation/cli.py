"""`fastscnn-quantize`: an FP32 file becomes an INT8 file that gives the same labels, or no file at all."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ...runtime.commands import command
from .quantizer import FRAMES, LEAST, PERCENTILE, quantise


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser(
        "fastscnn-quantize",
        "Quantise an FP32 file to INT8 with explicit Q/DQ nodes, checked against it on frames of yours.",
        "fastscnn-quantize model.onnx --calibration images -o model-int8.onnx",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="an FP32 file that fastscnn-export wrote")
    parser.add_argument(
        "--calibration", required=True, type=Path, metavar="FOLDER", help="images like the robot's; no labels needed"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="F", help="default: the model's name with -int8")
    parser.add_argument(
        "--frames", default=FRAMES, type=command.positive, metavar="N", help="images at most; a quarter only checks"
    )
    parser.add_argument(
        "--percentile",
        default=PERCENTILE,
        type=float,
        metavar="P",
        help="of an activation's values, what its range holds",
    )
    parser.add_argument(
        "--least", default=LEAST, type=float, metavar="SHARE", help="of pixels that must keep their label"
    )
    parser.add_argument("--full", nargs="+", default=(), metavar="NAME", help="further convolutions to keep in float32")
    parser.add_argument(
        "--sensitivity", action="store_true", help="also tell what each convolution alone costs in int8"
    )
    parser.add_argument("--json", metavar="PATH", help="write a report; - for stdout")
    return command.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    command.expect_folder(Path(options.json) if options.json not in (None, "-") else None)
    made = quantise(
        options.model,
        options.calibration,
        options.output,
        frames=options.frames,
        percentile=options.percentile,
        least=options.least,
        full=options.full,
        sensitivity=options.sensitivity,
        progress=True,
    )
    if options.json != "-":
        if made.costs:
            from .sensitivity import as_text

            print(as_text(made.costs))
        print(f"with the FP32 file on {made.held_back} frames: {made.agreement}")
        print(f"the same in ONNX Runtime, unsigned: {made.unsigned}")
        print(made.path)
    if options.json:
        report = dataclasses.asdict(made)
        command.write_json(options.json, {**report, "path": str(made.path)})


if __name__ == "__main__":
    raise SystemExit(main())
