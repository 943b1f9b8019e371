"""`python -m fastscnn.benchmarks.live model.onnx`: glass-to-label latency of live sources, beside the usual loop.

Cameras are started on the loopback address, some faster than the model and some slower. With `--source URI` one of
one's own is measured, whose frames carry a stamp: see `mjpeg.py` and `rtsp_server.py`.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from ...runtime import Segmenter
from ...runtime.artifacts.files import write_atomically
from ...runtime.commands import command
from ...runtime.errors import DeviceError, UsageError
from ...runtime.media import gstreamer
from ...runtime.media.uri import parsed, without_password
from .. import suite
from ..machine import machine, sentence
from .cameras import INSTALL, PROTOCOLS, system_python
from .glass import WAYS, Ages, measured

log = logging.getLogger(__name__)

_FACTORS = (3.0, 0.5)  # rates of the cameras, in the model's


@dataclass(frozen=True)
class Run:
    """One way of reading one source."""

    source: str
    rate: float
    way: str
    ages: Ages


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser("live", "Measure how old frames are when their labels are there: median, p95, drops.")
    parser.add_argument("model", type=Path, metavar="MODEL", help="a file that fastscnn-export wrote")
    parser.add_argument("--source", metavar="URI", help="a camera whose frames carry a stamp; default: own ones")
    parser.add_argument("--rate", type=float, metavar="N", help="frames per second of --source")
    parser.add_argument("--protocols", nargs="+", default=list(PROTOCOLS), choices=PROTOCOLS, help="of own cameras")
    parser.add_argument("--size", type=command.resolution, default=(540, 960), metavar="HxW", help="of their frames")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="for the newest frame of faster sources; others half"
    )
    command.add_device(parser)
    parser.add_argument("--threads", type=command.positive, metavar="N", help="CPU threads; default: all cores")
    parser.add_argument("--json", metavar="PATH", help="write the report; - for stdout")
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write the table with the command that made it")
    return suite.run("live", parser, _work, arguments, folder=False)


def _work(options: argparse.Namespace) -> None:
    command.expect_folder(options.markdown, Path(options.json) if options.json not in (None, "-") else None)
    if options.source and not options.rate:
        raise UsageError("--source without --rate; the bound needs the source's frames per second")
    facts = machine()
    with (
        Segmenter(options.model, options.device, threads=options.threads) as segmenter,
        tempfile.TemporaryDirectory() as folder,
    ):
        alone = segmenter.warm_up(options.size)
        about = f"{segmenter.artifact.head} {segmenter.artifact.resolution} on {segmenter.device}, {alone:.1f} ms a frame alone"
        log.info("%s", about)
        runs = []
        for name, rate, url in _sources(options, 1e3 / alone):
            for way in _ways(url):
                long = way == "newest frame" and rate * alone / 1e3 > 1
                seconds = options.seconds if long or options.source else options.seconds / 2
                ages = measured(way, segmenter, url, seconds, 1 / rate, Path(folder) / "out.mkv")
                runs.append(Run(name, round(rate, 1), way, ages))
                log.info("%s", _row(runs[-1]))
    if not runs:
        raise DeviceError(f"nothing was measured: {', '.join(options.protocols)} left out")
    report = {"command": options.command, "machine": facts, "model": about, "size": options.size, "runs": list(map(asdict, runs))}  # fmt: skip
    if options.json:
        command.write_json(options.json, report)
    if options.json != "-":
        print(table(runs))
    if options.markdown:
        text = f"# Live sources: how old frames are when their labels are there\n\n{sentence(facts)}; {about}.\n\n`{options.command}`\n\n"
        write_atomically(options.markdown, f"{text}{table(runs)}\n".encode())


def _ways(url: str) -> list[str]:
    """The usual loop first: it leaves nothing running. It cannot have a pipeline: pip's OpenCV has no GStreamer."""
    pipeline = parsed(url).kind == "pipeline"
    return [way for way in reversed(WAYS) if not (pipeline and way == "usual loop")]


def _sources(options: argparse.Namespace, model_rate: float) -> Iterator[tuple[str, float, str]]:
    """Name, frames per second and address, open for as long as the caller looks at them."""
    if options.source:
        yield without_password(options.source), options.rate, options.source
        return
    for protocol in options.protocols:
        if protocol != "mjpeg" and system_python() is None:
            log.warning("%s is left out: no Python here can serve RTSP. %s", protocol, INSTALL)
            continue
        if protocol == "gstreamer" and find_spec("gi") is None:
            log.warning("gstreamer is left out: this Python has no binding for it. %s", gstreamer.INSTALL)
            continue
        for factor in _FACTORS:
            rate = max(1.0, float(round(model_rate * factor)))
            with PROTOCOLS[protocol](rate, options.size) as url:
                yield f"{protocol}, {factor:g} times the model's rate", rate, url


def table(runs: Sequence[Run]) -> str:
    """Markdown."""
    lines = [
        "| source | way | frames | dropped | label: median | p95 | written: median | p95 | max | last tenth | bound | within |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    return "\n".join([*lines, *map(_row, runs)])


def _row(run: Run) -> str:
    ages = run.ages
    numbers = (*ages.label[:2], *ages.written, ages.last, ages.bound)
    return (
        f"| {run.source} ({run.rate:g}/s) | {run.way} | {ages.frames} | {ages.dropped} | "
        + " | ".join(f"{number:.0f}" for number in numbers)
        + f" | {ages.within:.1%} |"
    )
