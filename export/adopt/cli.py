"""`fastscnn-adopt`: somebody else's segmentation network becomes a file that every command here takes, or no file at all."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from ...runtime.artifacts.artifact import HEADS, ORDERS, PROBABILITIES
from ...runtime.commands import command
from .adopter import FRAMES, adopt


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser(
        "fastscnn-adopt",
        "Adopt a network that ends in low-resolution logits: cut its head off, give it a camera's input, prove it equal.",
        "fastscnn-adopt theirs.onnx -o ours.onnx",
        "fastscnn-adopt theirs.onnx --classes cityscapes --mean 0.485 0.456 0.406 --std 0.229 0.224 0.225 --res 1024x2048",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="an ONNX file of another project")
    parser.add_argument("-o", "--output", type=Path, metavar="F", help="default: the model's name with -adopted")
    parser.add_argument("--head", default="cls", choices=HEADS, help="arg-max labels, probabilities, or the logits")
    parser.add_argument(
        "--res", type=command.resolution, metavar="HxW", help="height x width, where the file leaves its size open"
    )
    parser.add_argument(
        "--batch", type=command.positive, metavar="N", help="frames in a run, where the file leaves it open"
    )
    parser.add_argument(
        "--classes",
        metavar="SET",
        help="cityscapes, camvid, classes.yaml, or a text file of a name a line (a colour may follow: road 128 64 128); "
        "default: what the file's metadata tells, or numbers",
    )
    group = parser.add_argument_group("input", "(pixel x SCALE - MEAN) / STD, where the file does not tell")
    group.add_argument("--mean", type=float, nargs="+", metavar="M", help="one number for each plane, or one for all")
    group.add_argument("--std", type=float, nargs="+", metavar="S", help="the same")
    group.add_argument("--scale", type=_ratio, metavar="X", help="a number or a fraction; 1/255 where it is left out")
    group.add_argument("--no-normalise", action="store_true", help="pixels from 0 to 255 go in as they are")
    group.add_argument("--order", choices=ORDERS, help="of the network's planes; RGB where nothing tells otherwise")
    parser.add_argument("--at", metavar="NAME", help="the result or tensor to take, where there are several")
    parser.add_argument(
        "--align-corners", action="store_true", help="upsample logits so, where the graph does not upsample them itself"
    )
    parser.add_argument(
        "--probability", choices=PROBABILITIES, help="what --head prob makes of the logits; default: as the graph does"
    )
    parser.add_argument("--licence", metavar="TEXT", help="of the weights; default: what the file's metadata tells")
    parser.add_argument(
        "--frames", metavar="INPUT", help="image, folder or video to prove it on; default: drawn streets"
    )
    parser.add_argument(
        "--count", default=FRAMES, type=command.positive, metavar="N", help="frames to prove it on at most"
    )
    parser.add_argument("--json", metavar="PATH", help="write a report; - for stdout")
    return command.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    command.expect_folder(Path(options.json) if options.json not in (None, "-") else None)
    made = adopt(
        options.model,
        options.output,
        head=options.head,
        resolution=options.res,
        batch=options.batch,
        classes=options.classes,
        mean=options.mean,
        std=options.std,
        scale=options.scale,
        normalise=not options.no_normalise,
        order=options.order,
        at=options.at,
        align_corners=options.align_corners,
        probability=options.probability,
        licence=options.licence,
        frames=options.frames,
        count=options.count,
    )
    if options.json:
        command.write_json(options.json, {**dataclasses.asdict(made), "path": str(made.path)})
    if options.json != "-":
        print(made.path)


def _ratio(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d*)?(?:e-?\d+)?)(?:/(\d+(?:\.\d*)?))?", text)
    if not match or (match[2] and not float(match[2])):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number or a fraction, such as 1/255")
    return float(match[1]) / float(match[2] or 1)


if __name__ == "__main__":
    raise SystemExit(main())
