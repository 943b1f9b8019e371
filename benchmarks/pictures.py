"""`python -m fastscnn.benchmarks.pictures`: the pictures of README and docs, from a clip and the recorded measurements."""

from __future__ import annotations

import argparse
import io
import json
import runpy
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..model.street import Street
from ..runtime import Artifact, Result, Segmenter, install
from ..runtime.artifacts.default_model import ready_model
from ..runtime.artifacts.files import write_atomically
from ..runtime.commands import command
from ..runtime.errors import DeviceError
from ..runtime.frame import Frame
from ..runtime.media.sources import Source
from . import plot, suite
from .peers.report import bars

_WIDTH = 1280  # of the still; each half shows one frame
_FILM = (640, 360)  # width, height of the animation's frames
_FILM_FRAMES, _FILM_STEP, _FILM_QUALITY = 36, 4, 60  # every fourth frame of the clip, at a quarter of its rate
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 85]
_MARGIN, _LINE = 12, 34  # of the legend, pixels


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser(
        "python -m fastscnn.benchmarks.pictures",
        "Make the pictures of README and docs anew.",
        "python -m fastscnn.benchmarks.pictures --clip solidWhiteRight.mp4",
    )
    parser.add_argument("--clip", metavar="INPUT", help="what is segmented; default: a street that is drawn")
    parser.add_argument("--still", default=100, type=command.whole, metavar="N", help="the clip's frame for the still")
    parser.add_argument(
        "--results", default=Path("benchmarks/results"), type=Path, metavar="FOLDER", help="recorded measurements"
    )
    parser.add_argument(
        "-o", "--output", default=Path("docs/pictures"), type=Path, metavar="FOLDER", help="where the pictures go"
    )
    return suite.run("pictures", parser, _work, arguments, folder=False)


def _work(options: argparse.Namespace) -> None:
    try:
        from PIL import Image
    except ImportError:
        raise DeviceError(f"pictures need Pillow and matplotlib. Install: {install.command('plot')}") from None
    folder: Path = options.output
    command.make_folder(folder)
    frames = _frames(options.clip, options.still + 1 + _FILM_FRAMES * _FILM_STEP)
    with Segmenter(ready_model()) as segmenter:
        still = frames[min(options.still, len(frames) - 1)]
        board = _board(still, segmenter(still))
        write_atomically(folder / "street.jpg", _encoded(board, ".jpg", _JPEG))
        write_atomically(folder / "free_road.jpg", _encoded(_corridor(still, segmenter(still)), ".jpg", _JPEG))
        film = [
            Image.fromarray(
                cv2.resize(segmenter(frame).overlay(frame, 0.45), _FILM, interpolation=cv2.INTER_AREA)[..., ::-1]
            )
            for frame in frames[::_FILM_STEP][:_FILM_FRAMES]
        ]
    buffer = io.BytesIO()
    film[0].save(
        buffer, "WEBP", save_all=True, append_images=film[1:], duration=120, loop=0, quality=_FILM_QUALITY, method=6
    )
    write_atomically(folder / "film.webp", buffer.getvalue())
    report = json.loads((options.results / "peers-cls.json").read_text())
    group, values = next(iter(bars(report).items()))  # the largest size
    plot.plot_bars(
        folder / "speed.png", {group: values}, "camera frame to labels, milliseconds (median); shorter is faster"
    )
    for path in sorted(folder.iterdir()):
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


def _frames(place: str | None, count: int) -> list[Frame]:
    if place is None:
        street = Street(540, 960)
        return [street.frame(index)[0] for index in range(0, count, _FILM_STEP)]
    with Source(place) as opened:
        return [named.frame for named in islice(opened, count)]


def _board(frame: Frame, result: Result) -> Frame:
    """The frame, its overlay beside it, and the classes in it beneath."""
    size = (_WIDTH // 2, round(_WIDTH / 2 * frame.shape[0] / frame.shape[1]))
    pair = [cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in (frame, result.overlay(frame, 0.55))]
    return np.vstack([np.hstack(pair), _legend(result)])


def _corridor(frame: Frame, result: Result) -> Frame:
    """What the example draws, by the example itself."""
    example = runpy.run_path("examples/free_road.py")
    _, spans = example["corridor"](result.labels, result.artifact.classes.index("road"))
    drawn = result.overlay(frame, 0.35)
    example["draw"](drawn, spans)
    return drawn


def _legend(result: Result) -> Frame:
    from matplotlib import get_data_path
    from PIL import Image, ImageDraw, ImageFont

    artifact: Artifact = result.artifact
    shares = np.bincount(result.labels.ravel(), minlength=256)[: len(artifact.classes)]
    font = ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), 15)
    image = Image.new("RGB", (_WIDTH, _LINE), (24, 24, 27))
    draw = ImageDraw.Draw(image)
    x = _MARGIN
    for train_id in (int(i) for i in np.argsort(shares)[::-1] if shares[i] > 0.0005 * shares.sum()):
        name = artifact.classes[train_id]
        draw.rounded_rectangle((x, 10, x + 14, 24), 3, artifact.palette[train_id])
        draw.text((x + 21, 8), name, (228, 228, 231), font)
        x += 21 + int(draw.textlength(name, font)) + 2 * _MARGIN
    return np.asarray(image)[..., ::-1]


def _encoded(image: NDArray[np.uint8], suffix: str, options: list[int]) -> bytes:
    return bytes(cv2.imencode(suffix, image, options)[1].tobytes())


if __name__ == "__main__":
    raise SystemExit(main())
