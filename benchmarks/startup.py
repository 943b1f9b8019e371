"""`python -m fastscnn.benchmarks.startup`: from `python` to the first labels, beside the shortest programs on the engines alone."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from ..export import export
from ..model.street import drawn
from ..runtime.artifacts.files import write_atomically
from ..runtime.backends.openvino import VARIANTS, available
from ..runtime.commands import command
from ..runtime.errors import FastSCNNError, ParityError
from . import suite
from .machine import machine, sentence

OURS = "this runtime"
KEPT = f"{OURS}, auto"
COLD = f"{OURS}, auto, without a kept trial"

_ENGINES = {"cpu": "ONNX Runtime alone", "openvino": "OpenVINO f32 alone", "openvino-bf16": "OpenVINO bf16 alone"}
_AGREEMENT = 0.995  # share of pixels in classes of the same size, below which a time means nothing
_TELL = "print(*np.bincount(labels.ravel(), minlength=32), flush=True)\n"
_OURS = """import sys
import cv2
import numpy as np
from fastscnn import Segmenter
labels = Segmenter(sys.argv[1], sys.argv[3])(cv2.imread(sys.argv[2])).labels
"""
_ONNXRUNTIME = """import sys
import cv2
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
labels = session.run(None, {"image": cv2.imread(sys.argv[2])[None]})[0][0]
"""
_OPENVINO = """import sys
import cv2
import numpy as np
import openvino
options = {"INFERENCE_PRECISION_HINT": sys.argv[3], "PERFORMANCE_HINT": "LATENCY"}
compiled = openvino.Core().compile_model(sys.argv[1], "CPU", options)
labels = compiled(cv2.imread(sys.argv[2])[None])[0][0]
"""
# Where our own share goes: the functions that take it, wrapped by a clock.
_STEPS = """import json, sys, time
took = {}
last = time.perf_counter()
def step(name):
    global last
    now = time.perf_counter()
    took[name] = took.get(name, 0.0) + (now - last) * 1e3
    last = now
def watch(place, function, name):
    inner = getattr(place, function)
    def outer(*arguments, **options):
        step("the rest")
        try:
            return inner(*arguments, **options)
        finally:
            step(name)
    setattr(place, function, outer)
import cv2, numpy
frame = cv2.imread(sys.argv[2])
step("import of NumPy and OpenCV, reading the picture")
import fastscnn.runtime.segmenter, fastscnn.runtime.backends.choice
from fastscnn.runtime.artifacts import onnx_file
from fastscnn.runtime.backends import bfloat16, trial
step("import of this package")
if sys.argv[3] == "cpu":
    import onnxruntime
    watch(onnxruntime, "InferenceSession", "ONNX Runtime opens the network")
else:
    from fastscnn.runtime import privacy
    openvino = privacy.engine("openvino")
    watch(openvino.Core, "read_model", "OpenVINO reads the network")
    watch(openvino.Core, "compile_model", "OpenVINO compiles the network")
step("import of the engine")
watch(trial, "known", "hash of the model, look-up of the trial")
watch(onnx_file, "artifact", "check of the graph, its description")
watch(onnx_file, "without_head", "cutting the head off")
watch(bfloat16, "prepare", "rounding of the kernels")
segmenter = fastscnn.runtime.segmenter.Segmenter(sys.argv[1], sys.argv[3])
step("the rest")
segmenter(frame)
step("the first frame")
print(json.dumps(took))
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser("startup", "Time fresh processes from their start to the first labels, in turns.")
    parser.add_argument("--res", default=(512, 1024), type=command.resolution, metavar="HxW", help="height x width")
    parser.add_argument("--rounds", default=15, type=command.positive, metavar="N", help="starts of each")
    parser.add_argument("--devices", nargs="+", choices=_ENGINES, metavar="NAME", help="default: all that are here")
    return suite.run("startup", parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    folder: Path = options.output
    command.make_folder(folder)
    about = machine()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        model = export("cls", options.res, output=place / "model.onnx")
        picture = place / "frame.png"
        height, width = options.res
        cv2.imwrite(str(picture), drawn(height, width, 1)[0])
        here = ["cpu", *(name for name in VARIANTS if name in available() and name in _ENGINES)]
        devices = options.devices or here
        starts = programs(str(model), str(picture), devices)
        expect_equal({name: first_labels(words, place, kept=True)[2] for name, words in starts.items()})
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in (*starts, COLD)}
        for _ in tqdm(range(options.rounds), unit=" rounds", disable=None, leave=False):
            for name, words in starts.items():
                times[name].append(first_labels(words, place, kept=True)[:2])
        for _ in range(max(options.rounds // 5, 1)):  # each holds a trial
            times[COLD].append(first_labels(starts[KEPT], place, kept=False)[:2])
        few = min(options.rounds, 5)
        steps = {device: _steps(str(model), str(picture), device, place, few) for device in devices}
        imports = _imports(starts[KEPT], place, few)
    report = {
        "command": options.command,
        "machine": about,
        "resolution": "{}x{}".format(*options.res),
        "rounds": options.rounds,
        "milliseconds": {name: _summary(taken) for name, taken in times.items()},
        "steps": steps,
        "imports": imports,
    }
    print(as_table(report))
    command.write_json(str(folder / "startup.json"), report)
    write_atomically(folder / "startup.md", as_markdown(report).encode())


def programs(model: str, picture: str, devices: Sequence[str]) -> dict[str, list[str]]:
    """Command lines by name: this runtime on each device, and the same engine's shortest program."""
    found = {KEPT: _program(_OURS, model, picture, "auto")}
    for device in devices:
        found[f"{OURS}, {device}"] = _program(_OURS, model, picture, device)
        code = _ONNXRUNTIME if device == "cpu" else _OPENVINO
        found[_ENGINES[device]] = _program(code, model, picture, "bf16" if device == "openvino-bf16" else "f32")
    return found


def _program(code: str, *words: str) -> list[str]:
    return [sys.executable, "-c", code + _TELL, *words]


def first_labels(words: list[str], folder: Path, *, kept: bool) -> tuple[float, float, list[int]]:
    """Start a process → milliseconds until it tells of its labels, of processor time until it ends, and pixels of each class.

    Args:
        folder: with the cache of trials.
        kept: whether what earlier starts have left there stays.

    Raises:
        FastSCNNError: it fails.
    """
    cache = folder / "cache"
    if not kept:
        shutil.rmtree(cache, ignore_errors=True)
    environment = {k: v for k, v in os.environ.items() if k != "FASTSCNN_DEVICE"} | {"XDG_CACHE_HOME": str(cache)}
    began = time.perf_counter()
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder, env=environment
    ) as process:
        assert process.stdout and process.stderr
        line = process.stdout.readline()
        took = (time.perf_counter() - began) * 1e3
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or not line:
        raise FastSCNNError(
            f"a start failed: {(said.decode(errors='replace').strip().splitlines() or ['no message'])[-1]}"
        )
    return took, (usage.ru_utime + usage.ru_stime) * 1e3, [int(count) for count in line.split()]


def expect_equal(counts: Mapping[str, list[int]]) -> None:
    first = next(iter(counts.values()))
    for name, found in counts.items():
        share = sum(map(min, zip(first, found, strict=True))) / sum(first)
        if share < _AGREEMENT:
            raise ParityError(
                f"{name} gives other labels on {1 - share:.2%} of pixels; expected at most {1 - _AGREEMENT:.1%}"
            )


def _steps(model: str, picture: str, device: str, folder: Path, times: int) -> dict[str, float]:
    """Milliseconds of each step of this runtime's start, medians."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    words = [sys.executable, "-c", _STEPS, model, picture, device]
    told = [
        json.loads(subprocess.run(words, capture_output=True, check=True, cwd=folder, env=environment).stdout)
        for _ in range(times)
    ]
    return {name: round(statistics.median(one[name] for one in told), 1) for name in told[0]}


def _imports(words: list[str], folder: Path, times: int) -> dict[str, float]:
    """Milliseconds of imports by package, each module's own time, as `-X importtime` tells: the least of some starts."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    tries = []
    for _ in range(times):
        done = subprocess.run(
            [words[0], "-X", "importtime", *words[1:]], capture_output=True, text=True, cwd=folder, env=environment
        )
        found: Counter[str] = Counter()
        for own, name in re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", done.stderr):
            package = name.partition(".")[0]
            known = package in ("fastscnn", "numpy", "cv2", "onnxruntime", "openvino")
            found[package if known else "the standard library and others"] += int(own)
        tries.append(found)
    return {name: round(min(one[name] for one in tries) / 1e3, 1) for name, _ in tries[0].most_common()}


def _summary(taken: Sequence[tuple[float, float]]) -> dict[str, float]:
    wall, processor = np.array(taken).T
    return {
        "median": round(float(np.median(wall)), 1),
        "min": round(float(wall.min()), 1),
        "processor": round(float(np.median(processor)), 1),
    }


def as_table(report: dict[str, Any]) -> str:
    """Markdown: each start, and ours less the engine's."""
    times = report["milliseconds"]
    lines = ["| from `python` to the first labels, ms | median | least | processor time |", "|---|---:|---:|---:|"]
    for name, one in times.items():
        shown = f"**{name}**" if name.startswith(OURS) else name
        lines.append(f"| {shown} | {one['median']:.0f} | {one['min']:.0f} | {one['processor']:.0f} |")
    lines.append("")
    for device, engine in _ENGINES.items():
        if engine in times:
            ours, theirs = times[f"{OURS}, {device}"], times[engine]
            lines.append(
                f"- {device}: ours less the engine's shortest program: {ours['median'] - theirs['median']:.0f} ms (medians), "
                f"{ours['min'] - theirs['min']:.0f} ms (least), {ours['processor'] - theirs['processor']:.0f} ms of processor time."
            )
    steps = report["steps"]
    names = list(dict.fromkeys(name for one in steps.values() for name in one))
    lines += ["", f"| step, ms | {' | '.join(steps)} |", "|---|" + "---:|" * len(steps)]
    for name in names:
        cells = (f"{one[name]:.1f}" if name in one else "–" for one in steps.values())
        lines.append(f"| {name} | {' | '.join(cells)} |")
    told = ", ".join(f"{name} {milliseconds:.1f}" for name, milliseconds in report["imports"].items())
    lines += [
        "",
        f"Imports of `{KEPT}` by each module's own time, ms (`-X importtime`, which itself takes time): {told}.",
    ]
    return "\n".join(lines)


def as_markdown(report: dict[str, Any]) -> str:
    return f"""# Start-up

Made by `{report["command"]}`.

Fresh processes in turns, {report["rounds"]} of each: from their start until labels of one picture of {report["resolution"]} are told. With the trial of
engines kept from an earlier start, and without. An engine alone is its shortest program: NumPy, OpenCV, the engine, the same file
with its head inside. Processor time is the whole process's, its end included.
{sentence(report["machine"])}; load average {report["machine"].get("load_before", "unknown")} before the run.

{as_table(report)}
"""


if __name__ == "__main__":
    raise SystemExit(main())
