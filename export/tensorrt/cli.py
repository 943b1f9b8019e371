"""`fastscnn-trt`: build an engine, look into it, compare it with its source."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...runtime.artifacts.tensorrt_binding import FLAVOURS
from ...runtime.commands import command, manual
from ...runtime.errors import FAILED, UsageError
from . import report
from .engine import abandoned, build, expect_distinct, files
from .options import OPTIMIZATION_LEVELS, PRECISIONS, BuildOptions, size
from .progress import Progress
from .verification import verify

Work = Callable[[argparse.Namespace], None]


_BUILD_EXAMPLE = "fastscnn-trt build model.onnx -o model.plan"
_INSPECT_EXAMPLE = "fastscnn-trt inspect model.plan --layers"
_VERIFY_EXAMPLE = "fastscnn-trt verify model.plan --onnx model.onnx --frames clip.mp4"
_VERIFY = """Compare an engine with ONNX Runtime, and with PyTorch where a checkpoint is given, on the same frames:
logits, labels, and mIoU where labels are given. Exit code 3: they part by more than the bound. On a machine that cannot
run the engine the others are compared all the same, and exit code 4 says that the engine was not among them."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser(
        "fastscnn-trt",
        "Build TensorRT engines from ONNX, inspect and verify them.",
        _BUILD_EXAMPLE,
        _INSPECT_EXAMPLE,
        _VERIFY_EXAMPLE,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="build|inspect|verify")
    _add_build(_subcommand(commands, _BUILD_EXAMPLE, "Build an engine and its description.", _build))
    _add_inspect(_subcommand(commands, _INSPECT_EXAMPLE, "Print what an engine is and whether it fits here.", _inspect))
    _add_verify(_subcommand(commands, _VERIFY_EXAMPLE, _VERIFY, _verify))
    try:
        code = command.run(parser, lambda options: options.work(options), arguments)
    except SystemExit as leaving:  # SIGTERM, or argparse
        if not abandoned():
            raise
        code = leaving.code if isinstance(leaving.code, int) else FAILED
    if abandoned():
        logging.shutdown()
        sys.stderr.flush()
        os._exit(code)
    return code


def _subcommand(commands: Any, example: str, description: str, work: Work) -> argparse.ArgumentParser:
    """Named by the example's second word."""
    made: argparse.ArgumentParser = commands.add_parser(
        example.split()[1],
        help=description.partition(":")[0],
        description=description,
        epilog=manual.epilogue((example,)),
        formatter_class=manual.Formatter,
    )
    made.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show TensorRT's log and tracebacks"
    )
    made.set_defaults(work=work)
    return made


def _add_build(parser: argparse.ArgumentParser) -> None:
    defaults = BuildOptions()
    parser.add_argument("model", type=Path, metavar="MODEL", help="a file that fastscnn-export wrote")
    parser.add_argument("-o", "--output", type=Path, metavar="F", help="default: the model's name with .plan")
    parser.add_argument(
        "--precision",
        default=defaults.precision,
        choices=PRECISIONS,
        help="of the engine, or of what an INT8 file leaves in float; fp16 is checked",
    )
    parser.add_argument(
        "--flavour", choices=FLAVOURS, help="default: what is installed, TensorRT before TensorRT for RTX"
    )
    parser.add_argument("--workspace", default="1GiB", type=_size, metavar="SIZE", help="memory that the build may use")
    parser.add_argument("--timing-cache", type=Path, metavar="F", help="keep what was timed, for faster builds later")
    parser.add_argument("--dla", type=command.whole, metavar="CORE", help="build for a DLA core of Xavier or Orin")
    parser.add_argument("--head-in-engine", action="store_true", help="keep Resize + ArgMax or soft-max in the engine")
    parser.add_argument(
        "--target", default=(), type=_targets, metavar="SM,…", help="RTX: such as sm86,sm89; default: this GPU, or all from sm80 up"
    )  # fmt: skip
    parser.add_argument("--version-compatible", action="store_true", help="let later minor versions run it")
    parser.add_argument(
        "--opt-level", type=command.whole, metavar="N", help=f"{OPTIMIZATION_LEVELS[0]} (fast build) to {OPTIMIZATION_LEVELS[-1]} (fast engine)"
    )  # fmt: skip
    parser.add_argument(
        "--allow-fp32-layers", action="store_true", help="accept convolutions in FP32 in an FP16 engine"
    )
    parser.add_argument("--force", action="store_true", help="build even if the same engine is there already")
    parser.add_argument("--json", metavar="PATH", help="write the description; - for stdout")


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("engine", type=Path, metavar="ENGINE", help="a .plan, with its .plan.json beside it")
    parser.add_argument("--layers", action="store_true", help="list every layer with its precision")
    parser.add_argument("--json", metavar="PATH", help="write it as JSON instead; - for stdout")


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("engine", type=Path, metavar="ENGINE", help="a .plan, with its .plan.json beside it")
    parser.add_argument("--onnx", type=Path, metavar="F", help="default: the engine's source, in the same folder")
    parser.add_argument("--checkpoint", type=Path, metavar="F", help="the weights; adds PyTorch, as the reference")
    parser.add_argument("--frames", metavar="INPUT", help="image, folder or video; default: a drawn street")
    parser.add_argument("--labels", type=Path, metavar="DIR", help="grey PNGs of train ids, named like the frames")
    command.add_trust(parser)
    parser.add_argument("--count", default=4, type=command.positive, metavar="N", help="frames at most")
    parser.add_argument("--json", metavar="PATH", help="write a report; - for stdout")


def _build(options: argparse.Namespace) -> None:
    _expect_json(options.json)
    if options.json and options.json != "-":
        taken = files(options.model, options.output, options.timing_cache)
        expect_distinct({**taken, "the report": Path(options.json)})
    progress = Progress(sys.stderr if sys.stderr.isatty() else None)
    for handler in logging.getLogger().handlers:
        handler.addFilter(progress.make_room)
    built = build(
        options.model,
        options.output,
        BuildOptions(
            precision=options.precision,
            flavour=options.flavour,
            workspace=options.workspace,
            timing_cache=options.timing_cache,
            dla=options.dla,
            head_in_engine=options.head_in_engine,
            targets=options.target,
            version_compatible=options.version_compatible,
            opt_level=options.opt_level,
            allow_fp32_layers=options.allow_fp32_layers,
        ),
        force=options.force,
        progress=progress,
    )
    if options.json:
        command.write_json(options.json, {**report.as_json(built.description, []), "reused": built.reused})
    if options.json != "-":
        print(built.path)


def _inspect(options: argparse.Namespace) -> None:
    _expect_json(options.json)
    description, reasons = report.inspect(options.engine)
    if options.json:
        command.write_json(options.json, report.as_json(description, reasons))
    else:
        print(report.as_text(options.engine, description, reasons, options.layers))


def _verify(options: argparse.Namespace) -> None:
    _expect_json(options.json)
    given = (options.onnx, options.checkpoint, options.frames, options.labels, options.count)
    result = verify(options.engine, *given, trust=options.trust)
    if options.json != "-":
        for comparison in result.comparisons:
            print(comparison)
        for side, score in result.mean_iou.items():
            print(f"{side}: mIoU {score:.4f}")
    if options.json:
        compared = [{**vars(c), "agreement": c.agreement, "passed": c.passed} for c in result.comparisons]
        command.write_json(
            options.json, {"comparisons": compared, "mean_iou": result.mean_iou, "misfits": result.misfits}
        )
    result.expect_success(options.engine)


def _expect_json(destination: str | None) -> None:
    command.expect_folder(Path(destination) if destination and destination != "-" else None)


def _size(text: str) -> int:
    try:
        return size(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _targets(text: str) -> tuple[str, ...]:
    return tuple(part.strip().lower() for part in text.split(",") if part.strip())
