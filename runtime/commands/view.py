"""`fastscnn-view`: a camera, and what the model makes of it, on a page for any browser."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import islice

from ..media.sources import Named
from ..view import View, address
from . import command, opening
from .segment import segmented
from .tally import Tally

log = logging.getLogger(__name__)

_PORT = 8080


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser(
        "fastscnn-view",
        "Show a source and its classes live, in any browser.",
        "fastscnn-view 0",
        "fastscnn-view clip.mp4 -m model.onnx --at 0.0.0.0:8080",
    )
    opening.add_options(parser)
    parser.add_argument(
        "--at",
        default=("127.0.0.1", _PORT),
        type=address,
        metavar="PORT",
        help="port of the page; HOST:PORT, such as 0.0.0.0:8080, shows it to whoever reaches this machine",
    )
    parser.add_argument("--frames", type=command.positive, metavar="N", help="end after N frames; default: at Ctrl-C")
    return command.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    with ExitStack() as stack:
        run = opening.opened(options, stack)
        view = stack.enter_context(View(*options.at))
        tally = Tally(run.segmenter, run.source)
        newest = run.newest or (run.source.video and not options.every_frame)
        frames = run.frames if run.source.live else paced(run.frames)
        try:
            with closing(segmented(run.segmenter, frames, tally, newest=newest)) as results:
                for named, result in islice(results, options.frames):
                    tally.count(named, result)
                    view.show(named.frame, result, **tally.facts(result, run.model))
            if options.frames is None:
                log.info("the end; the last picture stays until Ctrl-C")
                while True:
                    time.sleep(3600)
        finally:
            if tally.frames:
                log.info("%s: %s", run.source.shown, tally.sentence())


def paced(frames: Iterator[Named]) -> Iterator[Named]:
    """A clip's frames when they are due, as a camera would give them; images at once."""
    began: float | None = None
    for named in frames:
        if named.stamp is not None:
            now = time.monotonic()
            began = now - named.stamp if began is None else began
            time.sleep(max(0.0, began + named.stamp - now))
        yield named
