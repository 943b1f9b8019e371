"""`python -m fastscnn.benchmarks.growth`: how time and memory grow with resolution, batch, threads and frames in flight."""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ...export import export
from ...model.street import Street
from ...runtime.artifacts.files import write_atomically
from ...runtime.backends.choice import DEVICES
from ...runtime.backends.cores import usable_cores
from ...runtime.commands import command
from ...runtime.errors import FastSCNNError, UsageError
from .. import plot, suite
from ..machine import machine, sentence

log = logging.getLogger(__name__)

RESOLUTIONS = [(256, 512), (512, 1024), (1024, 2048), (2048, 4096)]
BATCHES = (1, 2, 4, 8)
IN_FLIGHT = (1, 2, 3, 4)
_SWEEPS = ("resolution", "batch", "threads", "frames in flight")


@dataclass(frozen=True)
class Point:
    """One place on one axis."""

    sweep: str
    at: int  # pixels, frames of a batch, threads, or frames in flight
    asked: str  # device
    resolution: tuple[int, int]
    threads: int
    batch: int = 1
    in_flight: int = 1


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser(
        "growth", "Measure how a cls model's time and memory grow; each point in a process of its own."
    )
    parser.add_argument(
        "--devices", nargs="+", default=["cpu"], choices=[d for d in DEVICES if d != "auto"], help="what to run on"
    )
    parser.add_argument(
        "--res",
        nargs="+",
        default=RESOLUTIONS,
        type=command.resolution,
        metavar="HxW",
        help="height x width, two or more",
    )
    return suite.run("growth", parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    if len(set(options.res)) < 2:
        raise UsageError("growth over one resolution cannot be fitted; give two or more with --res")
    folder: Path = options.output
    command.make_folder(folder)
    points = list(plan(options.devices, options.res, usable_cores()))
    report: dict[str, Any] = {"command": options.command, "machine": machine(), "points": []}
    with tempfile.TemporaryDirectory() as temporary:
        for point in tqdm(points, unit=" points", disable=None):
            report["points"].append({**vars(point), **run(point, Path(temporary))})
    report["fits"] = {device: fits(report["points"], device) for device in options.devices}
    print(as_table(report))
    command.write_json(str(folder / "growth.json"), report)
    write_atomically(folder / "growth.md", as_markdown(report).encode())
    plot.plot_growth(folder / "growth.png", series(report))


def plan(devices: Sequence[str], resolutions: Sequence[tuple[int, int]], cores: int) -> Iterator[Point]:
    """All points; batch and the rest grow at middling resolutions, so that the largest still fits a small machine."""
    ordered = sorted(set(resolutions))
    small, large = ordered[0], ordered[-2]
    for device in devices:
        yield from (Point("resolution", h * w, device, (h, w), cores) for h, w in ordered)
        yield from (Point("batch", n, device, small, cores, batch=n) for n in BATCHES)
        yield from (Point("threads", n, device, large, n) for n in _doubled(cores))
        yield from (Point("frames in flight", n, device, large, cores, in_flight=n) for n in IN_FLIGHT)


def run(point: Point, folder: Path) -> dict[str, Any]:
    """What `growth_point` measures. Models and frames are made once in `folder`."""
    height, width = point.resolution
    frames, model = folder / f"{height}x{width}.npy", folder / f"{height}x{width}-{point.batch}.onnx"
    if not frames.exists():
        street = Street(height, width)
        np.save(frames, np.stack([street.frame(index * 10)[0] for index in range(2)]))
    if not model.exists():
        export("cls", point.resolution, batch=point.batch, output=model)
    words = [model, frames, point.asked, point.threads, point.in_flight]
    if point.asked.startswith("openvino-"):  # the trial of its precision, once a machine and model, is not its memory
        opening = f"Segmenter({str(model)!r}, {point.asked!r}, threads={point.threads}).close()"
        subprocess.run(
            [sys.executable, "-c", f"from fastscnn.runtime import Segmenter; {opening}"],
            capture_output=True,
            cwd=folder,
        )
    done = subprocess.run(
        [sys.executable, "-m", "fastscnn.benchmarks.growth.point", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=folder,
    )
    if done.returncode:
        raise FastSCNNError(f"{point} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return dict(json.loads(done.stdout))


def fits(points: Sequence[dict[str, Any]], device: str) -> dict[str, float]:
    """Exponents of growth with the number of pixels, and the line of memory."""
    chosen = [p for p in points if p["asked"] == device and p["sweep"] == "resolution"]
    pixels = np.array([p["at"] for p in chosen], np.float64)
    times, peaks = (np.array([p[key] for p in chosen], np.float64) for key in ("milliseconds", "peak_mb"))
    slope, base = np.polyfit(pixels / 1e6, peaks, 1)
    exponent = np.polyfit(np.log(pixels), np.log(times), 1)[0]
    return {
        "time_exponent": round(float(exponent), 3),
        "mb_per_megapixel": round(float(slope), 1),
        "mb_base": round(float(base), 1),
    }


def as_table(report: dict[str, Any]) -> str:
    """Markdown: one row a point, and a sentence a device on how it grows."""
    lines = ["| device | growing | at | ms a frame | peak MB of the process |", "|---|---|---:|---:|---:|"]
    for p in report["points"]:
        place = "{}x{}".format(*p["resolution"])
        at = place if p["sweep"] == "resolution" else f"{p['at']} ({place})"
        lines.append(f"| {p['asked']} | {p['sweep']} | {at} | {p['milliseconds']:.1f} | {p['peak_mb']:.0f} |")
    lines.append("")
    for device, fit in report["fits"].items():
        lines.append(
            f"- {device}: time grows as pixels^{fit['time_exponent']:.2f}, "
            f"memory as {fit['mb_base']:.0f} MB + {fit['mb_per_megapixel']:.0f} MB a megapixel."
        )
    return "\n".join(lines)


def as_markdown(report: dict[str, Any]) -> str:
    return f"""# Growth of time and memory, cls head

Made by `{report["command"]}`.

{as_table(report)}

Each point is a process of its own: Python, NumPy, OpenCV, the engine, two frames. Medians; a frame is the drawn street's.
{sentence(report["machine"])}.

![time and memory](growth.png)
"""


def series(report: dict[str, Any]) -> dict[str, dict[str, list[tuple[float, float, float]]]]:
    """Sweep → device → (at, milliseconds, MB), in order."""
    found: dict[str, dict[str, list[tuple[float, float, float]]]] = {sweep: {} for sweep in _SWEEPS}
    for p in report["points"]:
        found[p["sweep"]].setdefault(p["asked"], []).append((p["at"], p["milliseconds"], p["peak_mb"]))
    return found


def _doubled(most: int) -> list[int]:
    """1, 2, 4 … and the most."""
    return sorted({*(1 << n for n in range(most.bit_length()) if 1 << n <= most), most})
