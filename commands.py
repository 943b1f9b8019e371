"""Where the console scripts enter: nothing heavy is imported here, so that what happens meanwhile is told in one sentence."""

from __future__ import annotations

import signal
import sys
import traceback
from importlib import import_module

_REMEDY = "fastscnn-doctor tells which packages are missing or broken, and how to install them"


def export() -> int:
    return _enter("export.exporter")


def quantize() -> int:
    return _enter("export.quantisation.cli")


def trt() -> int:
    return _enter("export.tensorrt.cli")


def segment() -> int:
    return _enter("runtime.commands.segment")


def doctor() -> int:
    return _enter("runtime.doctor.cli")


def bench() -> int:
    return _enter("benchmarks.bench")


def data() -> int:
    return _enter("model.data_check")


def train() -> int:
    return _enter("model.training.train")


def evaluate() -> int:
    return _enter("model.evaluate")


def import_() -> int:
    return _enter("model.importing.importer")


def _enter(module: str) -> int:
    """Import the command and run it; gives its exit code.

    Before and after the command itself there is nothing to unwind, so there Ctrl-C ends the process at once, as it would
    a program in C, also in the middle of loading a library.
    """
    python = signal.getsignal(signal.SIGINT)
    hasty = python is signal.default_int_handler  # not where the caller, such as nohup, has it ignored
    if hasty:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        main = import_module(f".{module}", __package__).main
    except Exception as error:  # a broken package raises what it likes
        if "--debug" in sys.argv:
            traceback.print_exc()
        name = sys.argv[0].rpartition("/")[2]
        print(f"{name}: a package that it needs cannot be imported ({error}). {_REMEDY}", file=sys.stderr)
        return 4  # errors.MISFIT: this machine cannot run it
    if hasty:
        signal.signal(signal.SIGINT, python)
    try:
        return int(main())
    finally:
        if hasty:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
