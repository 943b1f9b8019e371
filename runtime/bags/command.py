"""`fastscnn-bag`: recordings in, labelled recordings or a data set out."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..artifacts.default_model import default_model
from ..commands import command
from ..errors import OutputError, UsageError
from .extract import extract
from .fleet import MANIFEST, Work, on_ray, on_this_machine
from .label import ENTRY, label_log
from .labeller import Labeller, close_all
from .options import Options
from .reading import Bag, is_log

log = logging.getLogger(__name__)

_STEP = 0.1  # seconds between two moves of the bar


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser(
        "fastscnn-bag",
        "Label the images of recorded bags: ROS 1, rosbag2 in SQLite or MCAP.",
        "fastscnn-bag monday -o labelled -m model.onnx",
    )
    parser.add_argument("input", metavar="IN", type=Path, help="a bag, or a folder of bags; it is never changed")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="OUT", help="folder for the labelled bag, or for all of them"
    )
    parser.add_argument(
        "-m", "--model", type=Path, help="a file that fastscnn-export wrote; default: the weights that ship"
    )
    parser.add_argument("--topic", action="append", default=[], help="of the images; needed where there are several")
    parser.add_argument("--every", type=command.positive, default=1, metavar="N", help="label each N-th image")
    parser.add_argument("--start", type=_seconds, default=0.0, metavar="S", help="seconds after the bag's beginning")
    parser.add_argument("--end", type=_seconds, metavar="S", help="seconds after the bag's beginning; default: all")
    parser.add_argument("--only-masks", action="store_true", help="do not copy what was recorded")
    parser.add_argument("--overlay", action="store_true", help="add pictures for people, as JPEG")
    parser.add_argument(
        "--extract", type=Path, metavar="DATASET", help="write images and labels as a data set for training"
    )
    parser.add_argument(
        "--val", type=command.share, default=0.2, metavar="SHARE", help="of the images, the last, for `val`"
    )
    parser.add_argument("--no-labels", action="store_true", help="extract images alone, for somebody to label")
    command.add_device(parser)
    parser.add_argument("--threads", type=command.positive, metavar="N", help="CPU threads; default: all cores")
    parser.add_argument(
        "--workers", type=command.positive, metavar="N", default=1, help="processes for a folder of bags"
    )
    parser.add_argument("--ray", nargs="?", const="local", metavar="ADDRESS", help="label a folder of bags on Ray")
    parser.add_argument("--json", metavar="PATH", help="write the manifest there, too; - for stdout")
    return command.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    if not options.output and not options.extract:
        raise UsageError("nothing to make; expected -o OUT for a labelled bag, or --extract DATASET for training")
    wanted = Options(
        tuple(options.topic), options.every, options.start, options.end, options.only_masks, options.overlay
    )
    many = options.input.is_dir() and not is_log(options.input)
    if options.ray and not many:
        raise UsageError(f"--ray labels a folder of bags; {options.input} is one bag. Leave --ray out")
    if (
        options.output
        and not many
        and options.input.resolve() in (options.output.resolve(), *options.output.resolve().parents)
    ):
        raise UsageError(f"{options.output} lies in the input, which is never changed; choose another place")
    if many and options.extract:
        raise UsageError(f"--extract takes one bag at a time; {options.input} is a folder of them")
    if not many:
        with Bag(options.input) as bag:  # a wrong one is told before a model is opened
            first = bag.image_topics(list(wanted.topics))[0]
            size = _size(bag, first)
    model = options.model or default_model(size if not many else (720, 1280))
    labeller = Labeller(model, options.device, options.threads)
    try:
        report = _fleet(options, labeller, wanted) if many else _one(options, labeller, wanted)
    finally:
        close_all()
    if options.json:
        command.write_json(options.json, report)
    failed = [entry for entry in report.get("logs", []) if "error" in entry]
    if failed:
        raise OutputError(f"{len(failed)} of {len(report['logs'])} bags could not be labelled: {failed[0]['error']}")


def _one(options: argparse.Namespace, labeller: Labeller, wanted: Options) -> dict[str, Any]:
    report: dict[str, Any] = {}
    if not labeller.segmenter.artifact.trained:
        log.warning("the model's weights are random: the labels mean nothing yet")
    started = time.perf_counter()
    if options.output:
        with _bar(options.input.name) as tell:
            report = label_log(options.input, options.output, labeller, wanted, tell)
        rate = report["masks"] / (time.perf_counter() - started)
        log.info(
            "%s: %d masks of %d images, %.1f frames/s; %s and shares.png tell what is in them",
            options.output,
            report["masks"],
            report["images"],
            rate,
            ENTRY,
        )
    if options.extract:
        with _bar(options.input.name) as tell:
            count = extract(
                options.input,
                options.extract,
                labeller,
                wanted,
                val=options.val,
                labels=not options.no_labels,
                tell=tell,
            )
        rate = count / (time.perf_counter() - started)
        log.info(
            "%s: %d images, %.1f frames/s. Check it with: fastscnn-data %s",
            options.extract,
            count,
            rate,
            options.extract,
        )
        report = {**report, "extracted": count}
    return report


def _fleet(options: argparse.Namespace, labeller: Labeller, wanted: Options) -> dict[str, Any]:
    work = Work(options.input, options.output, labeller, wanted)
    total, started = len(work.names()), time.perf_counter()
    masks = 0
    with tqdm(total=total, unit=" bags", desc=options.input.name, disable=None) as bar:

        def tell(name: str, entry: dict[str, Any]) -> None:
            nonlocal masks
            masks += entry.get("masks", 0)
            bar.update()
            if "error" in entry:
                log.warning("%s: %s", name, entry["error"])

        report = on_ray(work, options.ray, tell) if options.ray else on_this_machine(work, options.workers, tell)
    rate = masks / (time.perf_counter() - started)
    log.info("%s: %d bags, %d masks, %.1f frames/s", options.output / MANIFEST, total, masks, rate)
    return report


def _size(bag: Bag, connection: Any) -> tuple[int, int]:
    for _, _, data in bag.read([connection], None, None):
        _, frame = bag.picture(connection, data)
        return frame.shape[0], frame.shape[1]
    raise UsageError(f"{bag.path} has no message on {connection.topic}")


@contextmanager
def _bar(name: str) -> Iterator[Callable[[int, int], None]]:
    with tqdm(unit=" messages", desc=name, disable=None, mininterval=_STEP) as bar:  # None: only on a terminal

        def tell(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield tell


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; expected seconds from 0 up")
    return value
