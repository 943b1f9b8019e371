"""`fastscnn-segment`: frames in, overlays, colour masks or label images out."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from ..errors import UsageError
from ..frame import Frame
from ..media.sinks import FolderSink, open_sink
from ..media.sources import Named
from ..media.uri import without_password
from ..result import Result
from ..segmenter import Segmenter
from ..view import View, address
from . import command, opening, several, signals
from .legend import add_legend
from .naming import beside
from .rendering import LOSSLESS, rendered
from .tally import Tally

log = logging.getLogger(__name__)

STYLES = ("overlay", "colour", "labels", "indexed")
Results = Iterator[tuple[Named, Result]]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser(
        "fastscnn-segment",
        "Segment an image, a folder, a video, a stream or a camera.",
        "fastscnn-segment street.jpg",
        "fastscnn-segment clip.mp4 -m model.onnx -o overlay.mp4 --json report.json",
        "fastscnn-segment photos -o labels --as labels",
        "fastscnn-segment monday.mp4 tuesday.mp4 -o overlays",
        "fastscnn-segment rtsp://camera.local/stream -o drive.mkv --reconnect --view 8080",
    )
    opening.add_options(parser, several=True)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="OUT",
        help="image, video, or folder for one image a frame; default: the input's name and what is written, in this folder",
    )
    parser.add_argument(
        "--as",
        dest="style",
        default="overlay",
        choices=STYLES,
        help="what to write; labels are train ids as grey PNG, indexed the same with their colours as palette",
    )
    parser.add_argument("--opacity", default=0.5, type=command.share, help="of the overlay's colours, 0 to 1")
    parser.add_argument("--frames", type=command.positive, metavar="N", help="stop after N frames; default: all")
    parser.add_argument(
        "--fps",
        type=_rate,
        metavar="N",
        help="constant frames per second of a video; default: the input's own times",
    )
    parser.add_argument(
        "--view",
        type=address,
        metavar="PORT",
        help="also show it live in browsers; HOST:PORT for more than this machine",
    )
    parser.add_argument("--json", metavar="PATH", help="write a report; - for stdout")
    return command.run(parser, _work, arguments, intermixed=True)


def _work(options: argparse.Namespace) -> None:
    if len(options.inputs) > 1:
        several.work(options, options.inputs)
        return
    (options.input,) = options.inputs
    options.output = options.output or beside(options.input, options.style)
    _keep_the_input(options.input, options.output)
    command.expect_folder(Path(options.json) if options.json and options.json != "-" else None)
    with ExitStack() as stack:
        run = opening.opened(options, stack)
        view = stack.enter_context(View(*options.view)) if options.view else None
        source, artifact = run.source, run.segmenter.artifact
        expected = min(filter(None, (source.frames, options.frames)), default=None)
        tally = Tally(run.segmenter, source)
        stack.enter_context(signals.held())  # but while a frame is read: threads start and videos end whole
        try:
            with open_sink(
                options.output,
                many=options.frames != 1 and (source.video or (source.folder and source.frames != 1)),
                rate=source.rate if source.video else options.fps,
                lossless=options.style in LOSSLESS,
                fps=options.fps,
                recording=source.live,
                palette=artifact.palette if options.style == "indexed" else None,
            ) as sink:
                if isinstance(sink, FolderSink):
                    add_legend(options.output, artifact, run.model)
                frames = run.frames if run.newest else signals.interruptible(islice(run.frames, options.frames))
                with closing(segmented(run.segmenter, frames, tally, newest=run.newest)) as results:
                    shown = signals.interruptible(results) if run.newest else results
                    for named, result in _progress(islice(shown, options.frames), expected, options):
                        sink.write(
                            named.name, rendered(result, named.frame, options.style, options.opacity), named.stamp
                        )
                        tally.count(named, result)
                        if view:
                            view.show(named.frame, result, **tally.facts(result, run.model))
        finally:  # also of an interrupted run, after its video is complete
            if tally.frames:
                log.info("%s: %s", options.output, tally.sentence())
                if options.json:
                    command.write_json(options.json, tally.report(str(options.output)))


def _keep_the_input(place: str, output: Path) -> None:
    """Nobody wants a camera's recordings replaced by their overlays."""
    source = Path(place)
    if source.exists() and output.exists() and output.resolve() == source.resolve():
        raise UsageError(
            f"{output} is the input itself, which would be overwritten; expected another name for the output"
        )


def segmented(
    segmenter: Segmenter, frames: Iterator[Named], tally: Tally | None = None, *, newest: bool = False
) -> Generator[tuple[Named, Result], None, None]:
    """Each frame with its result, in order; two in flight. With `newest` the others are dropped, and counted by `tally`."""
    about: dict[int, tuple[str, float | None]] = {}

    def read() -> Iterator[Frame]:
        for index, named in enumerate(frames):
            about[index] = named.name, named.stamp  # not its pixels, of which the stream has a copy
            yield named.frame

    with segmenter.stream(read(), drop="oldest" if newest else None) as stream:
        for result in stream:
            index = stream.index
            assert index is not None
            name, stamp = about[index]
            for passed in [other for other in list(about) if other <= index]:
                del about[passed]
            if tally is not None:
                tally.read, tally.dropped = stream.read, stream.dropped
            yield Named(name, stream.frame, stamp), result


def _progress(results: Results, expected: int | None, options: argparse.Namespace) -> Results:
    name = Path(without_password(options.input)).name[:40]
    yield from tqdm(results, total=expected, unit=" frames", desc=name, disable=None)  # None: only on a terminal


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 240:
        raise argparse.ArgumentTypeError(f"{text!r} is not a frame rate; expected frames per second, up to 240")
    return value


__all__ = ["STYLES", "main", "rendered", "segmented"]

if __name__ == "__main__":
    raise SystemExit(main())
