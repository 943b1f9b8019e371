"""`fastscnn-segment` with several inputs: one model, a result for each in a folder."""

from __future__ import annotations

import argparse
import logging
import re
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..artifacts.artifact import Artifact
from ..artifacts.default_model import default_model
from ..errors import FastSCNNError, SourceError, UsageError
from ..media.sinks import Sink, open_sink
from ..media.sources import Named, Source
from ..media.uri import without_password
from ..segmenter import Segmenter
from ..stream import Stream
from . import command, opening, signals
from .legend import add_legend
from .rendering import LOSSLESS, rendered

log = logging.getLogger(__name__)


def work(options: argparse.Namespace, places: list[str]) -> None:
    """Segment `places` together: every frame of files in turns, the newest of each of cameras.

    Raises:
        UsageError: an output that is no folder, or cameras and files in one run.
        SourceError: at the end, one or more of them that failed; the others are complete.
    """
    if options.view:
        raise UsageError("--view shows one input; expected a single one. Run the command once for each")
    if options.output is None:
        raise UsageError(f"{len(places)} inputs and no place for their results; expected a folder. Name it with -o")
    if options.output.suffix:
        raise UsageError(f"{options.output} is one file, but {len(places)} inputs were given; expected a folder")
    command.expect_folder(Path(options.json) if options.json and options.json != "-" else None)
    with ExitStack() as opened:
        sources = {
            name: opened.enter_context(Source(place, patience=options.patience, reconnect=options.reconnect))
            for name, place in zip(named(places), places, strict=True)
        }
        kinds = {source.live for source in sources.values()}
        if len(kinds) > 1:
            raise UsageError(
                "cameras and files in one run; expected one kind. Of cameras the newest frames count, of files all"
            )
        frames: dict[str, Iterator[Named]] = {name: islice(source, options.frames) for name, source in sources.items()}
        model = options.model
        if model is None:
            name = next(iter(frames))
            first = next(frames[name])
            frames[name] = chain([first], frames[name])
            model = default_model((first.frame.shape[0], first.frame.shape[1]))
        segmenter = opening.segmenter_of(options, model, opened)
        opening.introduce(options, segmenter, model)
        opened.enter_context(signals.held())  # but while a result is awaited: videos end whole
        sinks = {
            name: opened.enter_context(_sink(options, name, source, segmenter.artifact))
            for name, source in sources.items()
        }
        add_legend(options.output, segmenter.artifact, Path(model))
        failures: list[Exception] = []
        drop = "oldest" if kinds == {True} and not options.every_frame else None
        with closing(segmenter.stream(frames, drop=drop, on_error=failures.append)) as stream:
            try:
                for result in tqdm(
                    signals.interruptible(stream), unit=" frames", desc=f"{len(places)} inputs", disable=None
                ):
                    picture = rendered(result, stream.frame, options.style, options.opacity)
                    sinks[result.camera].write(str(result.tag), picture, result.stamp)
            except FastSCNNError as error:
                if error not in failures:
                    failures.append(error)
            finally:
                for name in sources:
                    log.info("%s: %s", options.output / name, _counts(stream, name))
        if options.json:
            command.write_json(
                options.json, _report(options, stream, dict(zip(sources, places, strict=True)), segmenter)
            )
    if failures:
        raise SourceError("; ".join(str(error) for error in failures))


def named(places: list[str]) -> list[str]:
    """A name for the results of each, from its own, no two alike: `a.mp4` → `a`, `0` → `camera-0`, an address → its words."""
    names: list[str] = []
    for place in places:
        path = Path(place)
        plain = f"camera-{place}" if place.isdecimal() else place.split("://")[-1] if "://" in place else path.stem
        name = first = re.sub(r"[^\w.-]+", "-", plain.split("@")[-1]).strip("-.") or "input"
        count = 1
        while name in names:
            count += 1
            name = f"{first}-{count}"
        names.append(name)
    return names


def _sink(options: argparse.Namespace, name: str, source: Source, artifact: Artifact) -> Sink:
    lossless = options.style in LOSSLESS
    ending = "" if source.folder or (source.video and lossless) else ".mp4" if source.video else ".png"
    command.make_folder(options.output)
    return open_sink(
        options.output / f"{name}{ending}",
        many=source.video or source.folder,
        rate=source.rate if source.video else options.fps,
        lossless=lossless,
        fps=options.fps,
        recording=source.live,
        palette=artifact.palette if options.style == "indexed" else None,
    )


def _counts(stream: Stream, name: str) -> str:
    camera = stream.cameras[name]
    dropped = f", {camera.dropped} dropped" if camera.dropped else ""
    refused = f", {camera.refused} refused" if camera.refused else ""
    return f"{camera.results} frame{'s' * (camera.results != 1)}{dropped}{refused}"


def _report(
    options: argparse.Namespace, stream: Stream, places: dict[str, str], segmenter: Segmenter
) -> dict[str, Any]:
    return {
        "inputs": [
            {
                "input": without_password(place),
                "output": str(options.output / name),
                "frames": stream.cameras[name].results,
                "dropped": stream.cameras[name].dropped,
                "refused": stream.cameras[name].refused,
                "error": None if stream.cameras[name].error is None else str(stream.cameras[name].error),
            }
            for name, place in places.items()
        ],
        "latency_milliseconds": {f"p{p}": round(segmenter.latency.percentile(p), 3) for p in (50, 95, 99)},
        "model": {"head": segmenter.artifact.head, "resolution": segmenter.artifact.resolution},
        "device": segmenter.device,
    }
