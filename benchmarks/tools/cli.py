"""`python -m fastscnn.benchmarks.tools`: files that other tools touched, through a Segmenter, beside the untouched file's labels."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ...export import export
from ...export.describe import describe
from ...export.quantisation import quantise
from ...model.street import Street
from ...runtime import Segmenter
from ...runtime.artifacts.artifact import HEADS
from ...runtime.artifacts.files import write_atomically
from ...runtime.backends import openvino
from ...runtime.commands import command
from ...runtime.errors import ArtifactError, FastSCNNError
from ...runtime.frame import Frame
from .. import suite
from ..machine import machine, sentence
from ..others import Others
from ..others import install as install_others
from .touch import TOOLS

TOUCHING = Others(
    "tools",
    (
        "onnx==1.23.2",
        "onnxruntime==1.32.0",
        "numpy==2.4.6",
        "protobuf==7.36.2",
        "onnxslim==0.1.98",
        "onnxsim==0.8.1",
        "onnxoptimizer==0.4.2",
        "onnxscript==0.7.2",
        "onnx_ir==1.1.0",
        "polygraphy==0.53.6",
        "onnx_graphsurgeon==0.6.1",
    ),
)
SCRIPT = Path(__file__).with_name("touch.py")
EQUAL = "equal"
_FRAMES = 12  # drawn, to calibrate with; some of them to compare on
_COMPARED = 3
_SECONDS = 900.0  # for one tool

Labels = NDArray[np.uint8]  # (N, H, W) of the frames
Expected = Mapping[str, Mapping[str, Labels]]  # of the untouched files, by file and device


@dataclass(frozen=True)
class Outcome:
    """What a Segmenter made of one file that a tool had touched."""

    tool: str
    file: str  # head and precision
    device: str
    found: str  # EQUAL, the share of equal labels, or the sentence with which it was refused
    described: str = ""  # the same once the description was put back, of files that lost it


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser(
        "tools", "Let other tools change exports, and compare a Segmenter's labels with those of the untouched files."
    )
    parser.add_argument("--res", default=(192, 256), type=command.resolution, metavar="HxW", help="height x width")
    parser.add_argument("--tools", nargs="+", default=list(TOOLS), choices=TOOLS, metavar="TOOL", help="some of them")
    parser.add_argument("--install", action="store_true", help="only install the tools, in an environment of their own")
    return suite.run("tools", parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    install_others([TOUCHING])
    if options.install:
        return
    command.make_folder(options.output)
    with tempfile.TemporaryDirectory() as temporary:
        frames, files = originals(Path(temporary), options.res)
        devices = ("cpu", *(["openvino"] if openvino.installed() else []))
        expected = {name: {device: labels(path, device, frames) for device in devices} for name, path in files.items()}
        outcomes = []
        for tool in tqdm(options.tools, unit=" tools", disable=None):
            outcomes += judged(tool, files, touched(tool, files), expected, frames)
    report = as_markdown(outcomes, options.command, "{}x{}".format(*options.res))
    print(report)
    write_atomically(options.output / "touched.md", report.encode())


def originals(folder: Path, resolution: tuple[int, int]) -> tuple[list[Frame], dict[str, Path]]:
    """Drawn frames, and an export of each head in each precision, with the weights that ship."""
    street = Street(*resolution, seed=3)
    frames = [street.frame(index * 7)[0] for index in range(_FRAMES)]
    (folder / "frames").mkdir()
    for index, frame in enumerate(frames):
        cv2.imwrite(str(folder / "frames" / f"{index}.png"), frame)
    files: dict[str, Path] = {}
    for head in HEADS:
        full = export(head, resolution, output=folder / f"{head}-fp32.onnx")
        half = export(head, resolution, precision="fp16", output=folder / f"{head}-fp16.onnx")
        # Few drawn frames of a low resolution: what counts here is that the labels stay, not how good they are.
        whole = quantise(full, folder / "frames", folder / f"{head}-int8.onnx", least=0.9).path
        files |= {path.stem: path for path in (full, half, whole)}
    return frames[:: _FRAMES // _COMPARED], files


def touched(tool: str, files: dict[str, Path]) -> dict[str, Path | str]:
    """What a tool makes of each file: a path, or why it makes nothing."""
    targets = {name: path.with_name(f"touched-{path.name}") for name, path in files.items()}
    for target in targets.values():
        target.unlink(missing_ok=True)
    pairs = [path for name in files for path in (files[name], targets[name])]
    done = TOUCHING.run(SCRIPT, tool, *pairs, timeout=_SECONDS)
    said = {
        name: [line for line in done.stderr.splitlines() if f" on {path}: " in line] for name, path in files.items()
    }
    return {
        name: target
        if target.is_file()
        else f"the tool fails: {(said[name] or [done.stderr.strip()[-200:]])[0].partition(': ')[2]}"
        for name, target in targets.items()
    }


def judged(
    tool: str, files: dict[str, Path], changed: dict[str, Path | str], expected: Expected, frames: Sequence[Frame]
) -> list[Outcome]:
    """Each touched file on each CPU engine that was asked for the untouched files' labels."""
    outcomes = []
    for name, path in changed.items():
        if isinstance(path, str):
            outcomes.append(Outcome(tool, name, "", path))
            continue
        for device in expected[name]:
            found = compared(expected[name][device], path, device, frames)
            again = ""
            if "lost this project's description" in found:
                try:
                    described = describe(files[name], path, path.with_name("described.onnx"))
                    again = compared(expected[name][device], described, device, frames)
                except FastSCNNError as error:
                    again = str(error)
            outcomes.append(Outcome(tool, name, device, found.replace(f"{path.parent}/", ""), again))
    return outcomes


def labels(path: Path, device: str, frames: Sequence[Frame]) -> Labels:
    with Segmenter(path, device, threads=1) as segmenter:
        return np.stack([segmenter(frame).labels for frame in frames])


def compared(expected: Labels, changed: Path, device: str, frames: Sequence[Frame]) -> str:
    """EQUAL, the share of labels that are, or why the file is refused."""
    try:
        share = float(np.mean(labels(changed, device, frames) == expected))
    except ArtifactError as error:
        return str(error)
    return EQUAL if share == 1 else f"{share:.4%}"


def as_markdown(outcomes: Sequence[Outcome], made_by: str, size: str) -> str:
    files = list(dict.fromkeys(one.file for one in outcomes))
    notes: dict[str, int] = {}
    lines = [f"| tool | {' | '.join(files)} |", "|---|" + "---|" * len(files)]
    for tool in dict.fromkeys(one.tool for one in outcomes):
        cells = []
        for file in files:
            found = {_cell(one, notes) for one in outcomes if (one.tool, one.file) == (tool, file)}
            cells.append(", ".join(sorted(found)))
        lines.append(f"| {tool} | {' | '.join(cells)} |")
    table = "\n".join(lines)
    told = "\n".join(f"{number}. {note}" for note, number in notes.items())
    equal = sum(EQUAL in (one.found, one.described) for one in outcomes)
    wrong = sum(one.found.endswith("%") or one.described.endswith("%") for one in outcomes)
    versions = ", ".join(package.replace("==", " ") for package in TOUCHING.packages)
    return f"""# Files that other tools touched

Made by `{made_by}`; the tools lie in an environment of their own, which the command makes.

{size}, weights that ship, ONNX Runtime and OpenVINO on the CPU, every pixel of {_COMPARED} frames. Of {len(outcomes)} pairs of a file and
an engine {equal} give the untouched file's labels, {len(outcomes) - equal - wrong} are refused with a reason, and {wrong} give other labels.

{table}

{told}

Tools: {versions}. {sentence(machine())}.
"""


def _cell(one: Outcome, notes: dict[str, int]) -> str:
    if one.found == EQUAL or one.found.endswith("%"):
        return one.found
    # One note for all files of a kind: without the file's name.
    reason = one.found.replace(f"touched-{one.file}.onnx", "CHANGED.onnx")
    note = f"[{notes.setdefault(reason, len(notes) + 1)}]"
    return f"refused {note}" + (f", {one.described} once described" if one.described else "")
