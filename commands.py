"""Where the console scripts enter, and `fastscnn`, which lists them.

Nothing heavy is imported here, so that what happens meanwhile is told in one sentence.
"""

from __future__ import annotations

import signal
import sys
import traceback
from importlib import import_module

from .version import __version__

_REMEDY = "fastscnn-doctor tells which packages are missing or broken, and how to install them"

# Name → the module whose `main` it is, and what it is for.
COMMANDS = {
    "segment": ("runtime.commands.segment", "image, folder, video or camera to overlays, masks or label images"),
    "view": ("runtime.commands.view", "the same live in a browser, with legend, age and drops"),
    "ros": ("runtime.ros.command", "ROS 2: a lifecycle node whose masks Nav2's costmap takes"),
    "bag": ("runtime.bags.command", "recorded bags to labelled bags or training data"),
    "doctor": ("runtime.doctor.cli", "what this machine has, lacks and should do; whether a model fits it"),
    "bench": ("benchmarks.bench", "time a model by the paper's protocol"),
    "import": ("model.importing.importer", "somebody else's Fast-SCNN weights to this project's, exactly"),
    "export": ("export.exporter", "weights to ONNX, checked against PyTorch"),
    "adopt": ("export.adopt.cli", "another project's network to a file that all of these take"),
    "quantize": ("export.quantisation.cli", "an FP32 file to INT8, checked on your frames"),
    "trt": ("export.tensorrt.cli", "ONNX to a TensorRT engine; inspect and verify it"),
    "data": ("model.data_check", "what is missing, broken or mislabelled in a data set"),
    "train": ("model.training.train", "a recipe and a data set to weights"),
    "eval": ("model.evaluate", "scores of weights, an ONNX file or an engine on labelled images"),
}
_MODULES = {
    "demo": "export, benchmark and segment a street, in one go",
    "paper": "the paper's tables on this machine, beside the paper's figures",
    "peers": "every engine here beside plain ONNX Runtime, OpenVINO and PyTorch",
    "growth": "how time and memory grow with pixels",
    "robustness": "scores in fog, noise, blur, darkness and so on, side by side",
    "training": "images a second of training",
    "live": "how old results of a live source are, from glass to label",
    "gpu": "everything about this GPU, in under eight minutes",
}


def main() -> int:
    """`fastscnn NAME …` is `fastscnn-NAME …`; alone it lists them."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help", "help"):
        print(_listed())
        return 0
    if words[0] == "--version":
        print(f"fastscnn {__version__}")
        return 0
    name = words[0].removeprefix("fastscnn-")
    if name not in COMMANDS:
        from difflib import get_close_matches

        close = get_close_matches(name, COMMANDS, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else "fastscnn alone lists them"
        print(f"fastscnn: {words[0]!r} is no command; expected one of {', '.join(COMMANDS)}. {hint}", file=sys.stderr)
        return 2  # errors.USAGE
    sys.argv[:] = [f"fastscnn-{name}", *words[1:]]
    return _enter(name)


def _listed() -> str:
    lines = [f"fastscnn {__version__}: real-time semantic segmentation for robots", ""]
    lines += ["usage: fastscnn COMMAND ..., or fastscnn-COMMAND ...", "", "commands:"]
    lines += [f"  {name:<10}{what}" for name, (_, what) in COMMANDS.items()]
    lines += ["", "measurements, each python -m fastscnn.benchmarks.NAME:"]
    lines += [f"  {name:<12}{what}" for name, what in _MODULES.items()]
    lines += ["", "first steps:", "  fastscnn segment street.jpg   with the model that ships; no PyTorch needed"]
    lines += ["  fastscnn doctor               what to install, and which engine runs here"]
    lines += ["  fastscnn COMMAND --help       options, examples, exit codes"]
    return "\n".join(lines)


def export() -> int:
    return _enter("export")


def adopt() -> int:
    return _enter("adopt")


def quantize() -> int:
    return _enter("quantize")


def trt() -> int:
    return _enter("trt")


def segment() -> int:
    return _enter("segment")


def view() -> int:
    return _enter("view")


def doctor() -> int:
    return _enter("doctor")


def ros() -> int:
    return _enter("ros")


def bag() -> int:
    return _enter("bag")


def bench() -> int:
    return _enter("bench")


def data() -> int:
    return _enter("data")


def train() -> int:
    return _enter("train")


def evaluate() -> int:
    return _enter("eval")


def import_() -> int:
    return _enter("import")


def _enter(name: str) -> int:
    """Import the command and run it; gives its exit code.

    Before and after the command itself there is nothing to unwind, so there Ctrl-C ends the process at once, as it would
    a program in C, also in the middle of loading a library.
    """
    python = signal.getsignal(signal.SIGINT)
    hasty = python is signal.default_int_handler  # not where the caller, such as nohup, has it ignored
    if hasty:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        work = import_module(f".{COMMANDS[name][0]}", __package__).main
    except Exception as error:  # a broken package raises what it likes
        if "--debug" in sys.argv:
            traceback.print_exc()
        print(f"fastscnn-{name}: a package that it needs cannot be imported ({error}). {_REMEDY}", file=sys.stderr)
        return 4  # errors.MISFIT: this machine cannot run it
    if hasty:
        signal.signal(signal.SIGINT, python)
    try:
        return int(work())
    finally:
        if hasty:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
