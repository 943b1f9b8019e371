"""`fastscnn-export`: a checkpoint becomes an ONNX file that is proven equal to it, or no file at all."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..model.classes import CAMVID, CLASS_SETS
from ..model.street import Street
from ..model.variant import MINIMUM_SIDE
from ..runtime import install
from ..runtime.artifacts.artifact import HEADS, INPUTS, PROBABILITIES, Artifact
from ..runtime.artifacts.files import write_atomically
from ..runtime.commands import command
from ..runtime.errors import DeviceError, UsageError
from ..version import __version__

log = logging.getLogger(__name__)
PRECISIONS = ("fp32", "fp16")  # int8 files are made from FP32 ones: fastscnn-quantize


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser(
        "fastscnn-export",
        "Export Fast-SCNN to ONNX, checked against PyTorch before it is left on disk.",
        "fastscnn-export --head cls --res 1024x2048 -o model.onnx",
        "fastscnn-export --head prob --res 512x1024 --checkpoint best.safetensors --precision fp16",
    )
    parser.add_argument("--head", choices=HEADS, help="arg-max labels, probabilities, or the 1/8 logits; required")
    parser.add_argument(
        "--res",
        type=command.resolution,
        metavar="HxW",
        help="height x width, such as 1024x2048; default: what the checkpoint was trained to see whole images at",
    )
    parser.add_argument(
        "--checkpoint", type=Path, metavar="F", help="weights (.safetensors, .pth); default: those that ship"
    )
    parser.add_argument(
        "--classes",
        choices=CLASS_SETS,
        help="what the train ids mean, where the checkpoint does not say; cityscapes without a checkpoint has random weights",
    )
    parser.add_argument("--precision", default="fp32", choices=PRECISIONS, help="of weights and activations")
    parser.add_argument(
        "--input", default="uint8", choices=INPUTS, help="uint8 BGR frames, or float32 normalised RGB planes"
    )
    parser.add_argument(
        "--probability",
        choices=PROBABILITIES,
        help="what --head prob makes of the logits; default: what the weights were trained with",
    )
    parser.add_argument("--batch", default=1, type=command.positive, metavar="N", help="frames in a run")
    parser.add_argument("-o", "--output", type=Path, metavar="F", help="default: fastscnn-HEAD-RES.onnx")
    parser.add_argument(
        "--describe",
        nargs=2,
        type=Path,
        metavar=("ORIGINAL", "CHANGED"),
        help="export nothing; put the description of one file into what another tool made of it, once both agree",
    )
    return command.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    if options.describe:
        from .describe import describe

        original, changed = options.describe
        print(describe(original, changed, options.output))
        return
    if options.head is None:
        raise UsageError("the following arguments are required: --head")
    path = export(
        head=options.head,
        resolution=options.res or _remembered(options.checkpoint, options.classes),
        checkpoint=options.checkpoint,
        classes=options.classes,
        precision=options.precision,
        input=options.input,
        probability=options.probability,
        batch=options.batch,
        output=options.output,
    )
    print(path)


def _remembered(checkpoint: Path | None, classes: str | None) -> tuple[int, int]:
    """The resolution that stands in a checkpoint; where there is none, the caller has to say it."""
    if checkpoint is None:
        raise UsageError("--res is missing; expected HEIGHTxWIDTH, such as 1024x2048")
    try:
        from ..model.checkpoint import load
    except ImportError:
        raise _without("torch") from None
    found = load(checkpoint, CLASS_SETS[classes] if classes else None).resolution
    if found is None:
        raise UsageError(
            f"{checkpoint} does not say at which resolution it was trained; expected --res HEIGHTxWIDTH, such as --res 1024x2048"
        )
    return found


def _without(package: str | None) -> DeviceError:
    return DeviceError(
        f"exporting needs torch and onnx, and {package} cannot be imported. Install: {install.command('export')}"
    )


def export(
    head: str,
    resolution: tuple[int, int],
    checkpoint: str | Path | None = None,
    *,
    classes: str | None = None,
    precision: str = "fp32",
    input: str = "uint8",
    probability: str | None = None,
    batch: int = 1,
    output: str | Path | None = None,
) -> Path:
    """Export, check and write; gives the file's path.

    Args:
        head: "cls", "prob" or "logits".
        resolution: (height, width), both at least 64.
        checkpoint: weights; None takes those that ship, trained on CamVid.
        classes: name of a class set, where the checkpoint does not name its own. Without a checkpoint, "cityscapes" takes
            random weights and says so.
        precision: "fp32" or "fp16".
        input: "uint8" for (N, H, W, 3) BGR, "float" for normalised RGB (N, 3, H, W).
        probability: "softmax" or "sigmoid"; None takes what the weights were trained with.

    Raises:
        UsageError: an argument that does not exist.
        ArtifactError: a checkpoint that is not one.
        ParityError: the graph does not compute what PyTorch does; nothing is written.
        OutputError: the file cannot be written.
    """
    try:
        from ..model import checkpoint as checkpoints
        from .check import check
        from .model import build
    except ImportError as error:
        raise _without(error.name) from None
    for name, value, known in (
        ("head", head, HEADS),
        ("precision", precision, PRECISIONS),
        ("input", input, INPUTS),
        ("probability", probability, PROBABILITIES),
    ):
        if value is not None and value not in known:
            raise UsageError(
                f"{name} {value!r} is unknown; expected one of {', '.join(known)}.{command.did_you_mean(value, known)}"
            )
    if classes is not None and classes not in CLASS_SETS:
        raise UsageError(
            f"class set {classes!r} is unknown; expected one of {', '.join(CLASS_SETS)}.{command.did_you_mean(classes, list(CLASS_SETS))}"
        )
    height, width = resolution
    if min(height, width) < MINIMUM_SIDE or batch < 1:
        raise UsageError(
            f"height={height} width={width} batch={batch}; expected at least {MINIMUM_SIDE} pixels a side and 1 frame"
        )
    target = Path(output or f"fastscnn-{head}-{height}x{width}{'-fp16' if precision == 'fp16' else ''}.onnx")
    command.expect_folder(target)
    log.info(
        "exporting head=%s height=%d width=%d precision=%s input=%s batch=%d",
        head,
        height,
        width,
        precision,
        input,
        batch,
    )
    class_set = CLASS_SETS[classes] if classes else None
    if checkpoint is not None:
        source = checkpoints.load(checkpoint, class_set)
    elif classes in (None, CAMVID.name):
        log.info("no checkpoint: taking the weights that ship, trained on CamVid (11 classes, research use)")
        source = checkpoints.load(checkpoints.SHIPPED)
    else:
        log.warning(
            "no weights ship for %s: they are random, so speed and size are real and labels are meaningless", classes
        )
        source = checkpoints.untrained(CLASS_SETS[classes])
    variant = source.network.variant
    logits_height, logits_width = variant.logits_size(height, width)
    artifact = Artifact(
        head=head,
        height=height,
        width=width,
        batch=batch,
        input=input,
        precision=precision,
        classes=source.classes.classes,
        palette=source.classes.palette,
        class_set=source.classes.name,
        mean=source.mean,
        std=source.std,
        logits_height=logits_height,
        logits_width=logits_width,
        checkpoint=source.digest,
        version=__version__,
        align_corners=variant.logits_align_corners,
        probability=probability or variant.probability,
        temperature=source.temperature[0 if head == "prob" else 1],
    )
    street = Street(height, width)
    frames = np.stack([street.frame(index)[0] for index in range(batch)])
    network = source.network_for(head)
    built = build(network, artifact, frames)
    log.info("checking against PyTorch on a street scene")
    parity = check(network, artifact, built, frames)
    log.info("%s", parity)
    data = built.model.SerializeToString()
    write_atomically(target, data)
    log.info("wrote %s, %.1f MB", target, len(data) / 1e6)
    return target


if __name__ == "__main__":
    raise SystemExit(main())
