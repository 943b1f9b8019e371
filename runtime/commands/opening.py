"""What commands that read a source share: its options, and a Segmenter and a source that are open together."""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from ..artifacts.default_model import default_model
from ..backends.logits import LogitsBackend
from ..backends.sibling import beside
from ..decode.decoder import described
from ..media.sources import PATIENCE, Named, Source
from ..segmenter import Segmenter
from . import command, seeing

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """What is open for as long as the command runs.

    Attributes:
        newest: whether only the newest frames are segmented.
        model: the file.
    """

    segmenter: Segmenter
    source: Source
    frames: Iterator[Named]
    newest: bool
    model: Path


def add_options(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """The source, or `several` of them, the model, and how both are read."""
    how: dict[str, Any] = {"nargs": "+"} if several else {}
    parser.add_argument(
        "inputs" if several else "input",
        **how,
        metavar="INPUT",
        help="image, folder, pattern, video, camera (0, /dev/video0, csi://0), address (rtsp://, http://, rtp://, udp://), "
        "GStreamer pipeline, or - for a video on standard input",
    )
    parser.add_argument(
        "-m",
        "--model",
        type=Path,
        help="a file that fastscnn-export wrote; default: the weights that ship, exported once for frames of this shape, "
        "or ready where there is no PyTorch",
    )
    command.add_device(parser)
    parser.add_argument("--threads", type=command.positive, metavar="N", help="CPU threads; default: all cores")
    parser.add_argument(
        "--every-frame",
        action="store_true",
        help="of a live source, segment every frame, however old it gets; else the newest each time",
    )
    parser.add_argument(
        "--patience",
        default=PATIENCE,
        type=seconds,
        metavar="S",
        help="seconds that a camera or URL may take for a frame; three times as many for the first",
    )
    parser.add_argument(
        "--reconnect",
        nargs="?",
        const=math.inf,
        type=seconds,
        metavar="S",
        help="when a live source is lost, open it again, for S seconds or for ever",
    )
    seeing.add_options(parser)
    command.add_trust(parser)
    parser.add_argument("--explain", action="store_true", help="say which engine runs the model, and why that one")
    command.add_try_again(parser)


def opened(options: argparse.Namespace, stack: ExitStack) -> Run:
    """Open what `options` name; `stack` closes it."""
    model = options.model
    if model:  # a wrong one is told before a camera wakes
        segmenter = segmenter_of(options, model, stack)
    source = stack.enter_context(Source(options.input, patience=options.patience, reconnect=options.reconnect))
    frames = iter(source)
    newest = source.live and not options.every_frame
    if not model:
        first = next(frames)
        model = default_model((first.frame.shape[0], first.frame.shape[1]))
        segmenter = segmenter_of(options, model, stack)
        if not newest:  # a live one would be stale by now
            frames = chain([first], frames)
    introduce(options, segmenter, model)
    return Run(segmenter, source, frames, newest, model)


def segmenter_of(options: argparse.Namespace, model: Path, stack: ExitStack) -> Segmenter:
    return stack.enter_context(
        Segmenter(
            model,
            options.device,
            threads=options.threads,
            trust=options.trust,
            try_again=options.try_again,
            **seeing.chosen(options),
        )
    )


def introduce(options: argparse.Namespace, segmenter: Segmenter, model: Path) -> None:
    """What is worth saying of a model before its results."""
    if options.explain:
        log.info("%s", segmenter.why or f"{segmenter.device}, without a choice")
        if isinstance(segmenter.backend, LogitsBackend):
            log.info("decode: %s", described())
        if told := beside(model, options.device, options.threads):
            log.info("%s", told)
    if not segmenter.artifact.trained:
        log.warning("the model's weights are random: the colours mean nothing yet")


def seconds(text: str) -> float:
    """A time; for `type=` of an option."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; expected seconds above 0")
    return value
