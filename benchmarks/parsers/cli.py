"""`python -m fastscnn.benchmarks.parsers`: does every parser of ONNX compute what the exports say?"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ...export import export
from ...model.street import Street
from ...runtime.artifacts import onnx_file
from ...runtime.artifacts.artifact import OUTPUTS
from ...runtime.artifacts.files import write_atomically
from ...runtime.backends.agreement import REDUCED
from ...runtime.backends.onnxruntime import open_session
from ...runtime.commands import command
from ...runtime.frame import InputLayout
from .. import suite
from ..machine import machine, sentence
from ..others import Others, last_line
from ..others import install as install_others

SCRIPT = Path(__file__).with_name("parse.py")
_OLD_NUMPY = "numpy==1.26.4"
_MIDDLE_NUMPY = "numpy==2.2.6"  # the newest that some say they take
_NUMPY = "numpy==2.4.6"


@dataclass(frozen=True)
class Parser:
    title: str
    kind: str  # of parse.py's
    others: Others


def _parser(title: str, kind: str, *packages: str, alone: bool = False) -> Parser:
    return Parser(title, kind, Others("-".join(packages[0].split("==")).lower(), packages, alone))


PARSERS = (
    _parser("ONNX Runtime", "onnxruntime", "onnxruntime==1.17.0", _OLD_NUMPY),
    _parser("ONNX Runtime", "onnxruntime", "onnxruntime==1.32.0", _NUMPY),
    _parser("OpenVINO", "openvino", "openvino==2025.0.0", _MIDDLE_NUMPY),
    _parser("OpenVINO", "openvino", "openvino==2026.4.1", _NUMPY),
    _parser("OpenCV DNN", "opencv", "opencv-python-headless==4.8.0.76", _OLD_NUMPY),
    _parser("OpenCV DNN", "opencv", "opencv-python-headless==4.8.1.78", _OLD_NUMPY),
    _parser("OpenCV DNN", "opencv", "opencv-python-headless==4.12.0.88", _MIDDLE_NUMPY),
    _parser("OpenCV DNN", "opencv", "opencv-python-headless==5.0.0.93", _NUMPY),
    _parser("tract", "tract", "tract==0.23.9", _NUMPY),
    _parser("MNN", "mnn", "MNN==3.6.1", _NUMPY),
    # pnnx says that it requires PyTorch, which its program does not.
    _parser("ncnn through pnnx", "ncnn", "ncnn==1.0.20261020", "pnnx==20261020", _NUMPY, alone=True),
)
Case = tuple[str, str, str]  # input, head, precision
CASES: tuple[Case, ...] = tuple(
    (kind, head, precision)
    for kind, precision in (("float", "fp32"), ("uint8", "fp32"), ("float", "fp16"))
    for head in OUTPUTS
)
_FRAME = 35  # of the drawn street
_SECONDS = 600.0  # for one process

Export = tuple[Path, Path, NDArray[Any]]  # the model, its input in a file, and what ONNX Runtime makes of it


@dataclass(frozen=True)
class Outcome:
    parser: str
    version: str
    case: Case
    labels: float | None = None  # the least share of equal labels, over all processes
    difference: float | None = None  # of logits or probabilities, the largest, as a share of their range
    failed: str = ""

    @property
    def good(self) -> bool:
        """As near as reduced precision may come; float16 may move a tie."""
        near = self.difference is None or self.difference <= REDUCED
        return self.labels is not None and near and self.labels >= (1.0 if self.case[2] == "fp32" else 0.99)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser("parsers", "Run exports in every parser that installs, beside ONNX Runtime's results.")
    names = sorted({one.others.name for one in PARSERS})
    parser.add_argument("--res", default=(192, 256), type=command.resolution, metavar="HxW", help="height x width")
    parser.add_argument("--parsers", nargs="+", default=names, choices=names, metavar="NAME", help="some of them")
    parser.add_argument(
        "--processes", default=5, type=command.positive, metavar="N", help="a case, because some faults come and go"
    )
    parser.add_argument("--install", action="store_true", help="only install the parsers, each in a folder of its own")
    return suite.run("parsers", parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    chosen = [one for one in PARSERS if one.others.name in options.parsers]
    install_others([one.others for one in chosen])
    if options.install:
        return
    command.make_folder(options.output)
    with tempfile.TemporaryDirectory() as temporary:
        outcomes = []
        exports = {case: exported(Path(temporary), case, options.res) for case in CASES}
        for one in tqdm(chosen, unit=" parsers", disable=None):
            outcomes += tried(one, exports, options.processes)
        built = rtx_builds(Path(temporary), options.res)
    report = as_markdown(outcomes, built, options)
    print(report)
    write_atomically(options.output / "parsers.md", report.encode())


def exported(folder: Path, case: Case, resolution: tuple[int, int]) -> Export:
    """The model, its input in a file, and what ONNX Runtime makes of the whole graph."""
    kind, head, precision = case
    path = export(head, resolution, input=kind, precision=precision, output=folder / f"{'-'.join(case)}.onnx")
    data = onnx_file.read(path)
    artifact = onnx_file.artifact(data, path.name)
    image = InputLayout(artifact)([Street(*resolution, seed=3).frame(_FRAME)[0]])
    np.save(path.with_suffix(".npy"), image)
    expected = open_session(data, path.name, "cpu", 1).run(None, {"image": image})[0]
    return path, path.with_suffix(".npy"), expected


def tried(parser: Parser, exports: Mapping[Case, Export], processes: int) -> list[Outcome]:
    """Run the exports in several processes; of each the worst counts."""
    worst: dict[Case, Outcome] = {}
    for _ in range(processes):
        left = {case: export for case, export in exports.items() if case not in worst or not worst[case].failed}
        for found in _in_one_process(parser, left):
            worst[found.case] = max(worst.get(found.case, found), found, key=_badness)
    return [worst[case] for case in exports]


def _badness(outcome: Outcome) -> tuple[bool, float, float]:
    return bool(outcome.failed), -(outcome.labels or 0.0), outcome.difference or 0.0


def _in_one_process(parser: Parser, exports: Mapping[Case, Export]) -> list[Outcome]:
    version = parser.others.packages[0].partition("==")[2]
    with tempfile.TemporaryDirectory() as folder:
        words: list[Path | str] = []
        targets = {case: Path(folder) / f"{'-'.join(case)}-result.npy" for case in exports}
        for case, (model, image, _) in exports.items():  # a copy, because converters write beside it
            words += [Path(shutil.copy(model, folder)), image, OUTPUTS[case[1]], targets[case]]
        try:
            done = parser.others.run(SCRIPT, parser.kind, *words, timeout=_SECONDS)
            died = f"the process dies of {signal.Signals(-done.returncode).name}" if done.returncode < 0 else ""
            said = dict(line.split(": ", 1) for line in done.stderr.splitlines() if line.startswith(f"{folder}/"))
        except subprocess.TimeoutExpired:
            died, said = f"takes more than {_SECONDS:.0f} s", {}
        outcomes = []
        for case, target in targets.items():
            if target.is_file():
                outcomes.append(_beside(parser.title, version, case, np.load(target), exports[case][2]))
            elif str(target) in said or len(exports) == 1:
                failed = said.get(str(target)) or died or last_line(done.stderr)
                outcomes.append(Outcome(parser.title, version, case, failed=failed.replace(f"{folder}/", "")))
            else:  # died before or at it: alone it tells which
                outcomes += _in_one_process(parser, {case: exports[case]})
        return outcomes


def _beside(title: str, version: str, case: Case, found: NDArray[Any], expected: NDArray[Any]) -> Outcome:
    if found.size != expected.size:
        return Outcome(title, version, case, failed=f"gives a result of shape {found.shape}, not {expected.shape}")
    found = found.reshape(expected.shape)
    if case[1] == "cls":
        return Outcome(title, version, case, float(np.mean(found == expected)))
    part = np.abs(found.astype(np.float32) - expected.astype(np.float32)).max() / max(float(np.ptp(expected)), 1e-12)
    labels = float(np.mean(found.argmax(axis=1) == expected.argmax(axis=1)))
    return Outcome(title, version, case, labels, float(part) if np.isfinite(part) else float("inf"))


def rtx_builds(folder: Path, resolution: tuple[int, int]) -> str:
    """TensorRT for RTX, which builds without a GPU: how many exports it parses and builds; in words."""
    try:
        from ...export.tensorrt.cli import main as trt
        from ...runtime.artifacts import tensorrt_binding

        name = tensorrt_binding.find("rtx").name
    except Exception as error:  # not on this machine
        return f"TensorRT for RTX was not tried ({error})"
    built = []
    for head in OUTPUTS:
        words = [
            "build",
            str(folder / f"float-{head}-fp16.onnx"),
            "-o",
            str(folder / "m.plan"),
            "--flavour",
            "rtx",
            "--target",
            "sm86",
        ]
        built.append(trt(words) == 0)
    return f"{name} parses and builds {sum(built)} of {len(built)} (float input, each head, FP16, for sm86)"


def as_markdown(outcomes: Sequence[Outcome], built: str, options: argparse.Namespace) -> str:
    heads = [" ".join(case) for case in CASES]
    notes: dict[str, int] = {}
    lines = [f"| parser | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    for title, version in dict.fromkeys((one.parser, one.version) for one in outcomes):
        row = [one for one in outcomes if (one.parser, one.version) == (title, version)]
        lines.append(f"| {title} {version} | {' | '.join(_cell(one, notes) for one in row)} |")
    table = "\n".join(lines)
    told = "\n".join(f"{number}. {note}" for note, number in notes.items())
    good = sum(one.good for one in outcomes)
    return f"""# Parsers

Made by `{options.command}`; each parser and version lies in a folder of its own, which the command makes.

{"{}x{}".format(*options.res)}, weights that ship, one drawn frame, {options.processes} processes a cell, of which the worst counts. A cell has the share of pixels
(of cells of the logits' grid) with ONNX Runtime's label, and behind it the largest difference of logits or probabilities as a
share of their range. {good} of {len(outcomes)} are as they should be.

{table}

{told}

{built}.
{sentence(machine())}.
"""


def _cell(one: Outcome, notes: dict[str, int]) -> str:
    if one.labels is None:
        return f"– [{notes.setdefault(one.failed, len(notes) + 1)}]"
    text = f"{one.labels:.2%}".replace("100.00%", "100%") + (
        f", {one.difference:.0e}" if one.difference is not None else ""
    )
    return text if one.good else f"**{text}**"
