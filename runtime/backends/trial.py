"""Which engine is fastest here? Tried once for a model on a machine, kept in the user's cache.

Reduced precision takes part only if its results pass the gate of `agreement` against float32 on drawn scenes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...version import __version__
from ..apart import UnansweredError, call, note
from ..artifacts import onnx_file
from ..artifacts.default_model import cache
from ..artifacts.files import write_atomically
from ..errors import DeviceError, FastSCNNError, ParityError
from ..frame import InputLayout
from .agreement import QUANTISED, REDUCED, clear, share
from .busy import MUCH, Busy
from .cores import usable_cores
from .logits import LogitsBackend
from .openvino import VARIANTS, OpenVinoBackend, available
from .scene import scene

log = logging.getLogger(__name__)

REFERENCE = "cpu"  # ONNX Runtime; it also wins what is about equal
_CLEARLY = 0.95  # of the reference's time, which another must stay below
_SECONDS = 1.0  # of measuring, after the check
_ROUNDS = (3, 15)  # at least, at most
_HOPELESS = 1.5  # times as long as the fastest in its best round, from which an engine need not be measured any longer
_SHORTEST = 2  # rounds, that each is measured
_PAUSE = 0.005  # seconds between turns, in which the other's threads fall asleep

_PATIENCE = 180.0  # seconds for a trial; the slowest board takes a tenth
_LOADING = "openvino"  # noted before its library is loaded, which all its devices share


class UntriedError(Exception):
    """No trial could be held; nothing is known of the engines."""


class UnrunError(Exception):
    """Every engine refused the file, or crashed over it.

    Attributes:
        lost: devices that crashed or hung, which must not be opened in this process.
    """

    def __init__(self, message: str, lost: set[str]) -> None:
        super().__init__(message)
        self.lost = lost


@dataclass(frozen=True)
class Entry:
    """How one engine did."""

    milliseconds: float | None = None  # median of the network's runs; None where it did not take part
    difference: float | None = None  # of the logits from the reference's, as a share of their range
    refused: str | None = None  # why it may not be chosen


@dataclass(frozen=True)
class Trial:
    """One trial: on what, of whom, and who won."""

    facts: Mapping[str, Any]
    entries: Mapping[str, Entry]
    chosen: str
    busy: float | None = None  # cores that other programs had meanwhile; None where nothing tells

    def __str__(self) -> str:
        ran = sorted((e.milliseconds, name) for name, e in self.entries.items() if e.milliseconds is not None)
        text = f"{self.chosen} chosen by a trial on this machine: " + ", ".join(f"{n} {ms:.1f} ms" for ms, n in ran)
        for name, entry in self.entries.items():
            if entry.refused:
                text += f"; {name}: {entry.refused}"
            elif entry.difference is not None and name != REFERENCE:
                text += f"; {name}'s logits within {entry.difference:.1e} of {REFERENCE}'s"
        if self.busy is not None and self.busy > MUCH:
            text += (
                f"; other programs had {self.busy:.1f} of {self.facts['cores']} cores meanwhile, so that an idle machine may choose "
                "otherwise: --try-again, or Segmenter(…, try_again=True)"
            )
        return text


def known(path: str | Path, threads: int | None) -> Trial | None:
    """An earlier trial of this model, with these versions and threads, on this processor."""
    facts = _facts(path, threads)
    try:
        found = json.loads(_place(facts).read_text())
        entries = {str(name): Entry(**entry) for name, entry in found["entries"].items()}
        busy = found.get("busy")
        trial = Trial(found["facts"], entries, found["chosen"], None if busy is None else float(busy))
        winner = entries[trial.chosen]
        sound = trial.chosen in (REFERENCE, *VARIANTS) and winner.milliseconds is not None and not winner.refused
        if trial.facts == facts and sound and str(trial):
            return trial
    except FileNotFoundError:
        return None
    except (FastSCNNError, OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        log.debug("an earlier trial cannot be read (%s); trying anew", error)
    return None


def hold(path: str | Path, threads: int | None) -> Trial:
    """Try what is there, in a process of its own, and keep the result in the cache.

    An engine that crashes or hangs there is left out, and so remembered.

    Raises:
        UntriedError: no process can be started, or OpenVINO's libraries do not load.
        UnrunError: no engine that is there runs the file.
    """
    facts = _facts(path, threads)
    log.info("trying once which engine is fastest here")
    lost: dict[str, Entry] = {}
    while True:
        try:
            told = run_apart(str(Path(path).absolute()), threads, list(lost))
            break
        except UnansweredError as error:
            # One whose library does not load takes all of its devices with it.
            fallen = [*VARIANTS] if error.note == _LOADING else [error.note]
            if not error.note or set(fallen) <= set(lost):
                raise UntriedError(f"no trial of engines could be held: {error}") from None
            log.warning("%s is left out here: %s", error.note, error)
            lost |= dict.fromkeys(fallen, Entry(refused=str(error)))
    if told["untried"] is not None:
        raise UntriedError(told["untried"])
    entries = {name: Entry(**entry) for name, entry in told["entries"].items()} | lost
    if not any(entry.milliseconds for entry in entries.values()):
        listed = "; ".join(f"{name}: {entry.refused}" for name, entry in entries.items())
        raise UnrunError(f"no engine runs {path} here. {listed}", {*lost})
    trial = Trial(facts, entries, _winner(entries), told["busy"])
    _keep(trial)
    return trial


def run_apart(path: str, threads: int | None, without: list[str]) -> dict[str, Any]:
    """`compare` in a process of its own."""
    return call("backends.trial:compare", _PATIENCE, path=path, threads=threads, without=without)


def compare(path: str, threads: int | None, without: list[str]) -> dict[str, Any]:
    """Open every engine that is there, check and time it.

    Args:
        without: devices that are left out.

    Returns:
        `entries` by device; `untried`: why no trial makes sense, else None; `busy`: how many cores others had meanwhile.
    """
    names = [REFERENCE] if REFERENCE not in without else []
    if any(name not in without for name in VARIANTS):
        note(_LOADING)
        try:
            names += [name for name in available() if name not in without]
        except DeviceError as error:  # told, not kept: a library may be mended at any time
            return {"entries": {}, "untried": str(error), "busy": None}
    busy = Busy()
    opened: dict[str, LogitsBackend] = {}
    entries: dict[str, Entry] = {}
    try:
        for name in names:
            note(name)
            try:
                opened[name] = open_one(path, name, threads)
            except FastSCNNError as error:
                entries[name] = Entry(refused=str(error))
        if opened:
            entries |= _compared(opened)
    finally:
        for backend in opened.values():
            backend.close()
    told = {name: asdict(entry) for name, entry in entries.items()}
    return {"entries": told, "untried": None, "busy": busy.cores()}


def open_one(path: str | Path, device: str, threads: int | None) -> LogitsBackend:
    """The backend of one device that takes part in trials."""
    if device == REFERENCE:
        from .onnxruntime import OnnxRuntimeBackend

        return OnnxRuntimeBackend(path, device, threads)
    return OpenVinoBackend(path, device, threads)


def expect_agreement(trial: Trial, device: str) -> None:
    """Refuse a device that the trial found wanting.

    Raises:
        ParityError: its results part from float32's.
        DeviceError: it could not be opened, or was not tried.
    """
    entry = trial.entries.get(device)
    if entry is None:
        raise DeviceError(f"device {device!r} is not there on this machine. Use one of {', '.join(trial.entries)}")
    if entry.refused:
        raise (DeviceError if entry.difference is None else ParityError)(f"device {device!r}: {entry.refused}")


def _compared(opened: Mapping[str, LogitsBackend]) -> dict[str, Entry]:
    """Check each against the first, then time those that passed, in turns."""
    first = next(iter(opened))
    artifact = opened[first].artifact
    layout, size = InputLayout(artifact), (artifact.height, artifact.width)
    bound = QUANTISED if artifact.precision == "int8" else REDUCED
    images = [layout([scene(*size, seed)] * artifact.batch) for seed in range(2)]
    expected = [_Answer(opened[first], opened[first].logits(image)[0], bound) for image in images]
    entries: dict[str, Entry] = {}
    for name, backend in opened.items():
        note(name)
        answers = [e.logits if name == first else backend.logits(i)[0] for e, i in zip(expected, images, strict=True)]
        difference = float(np.max([share(a, e.logits) for a, e in zip(answers, expected, strict=True)]))  # keeps NaN
        wrong = 0 if name == first else sum(e.clearly_different(a) for a, e in zip(answers, expected, strict=True))
        refused = None
        if not difference <= bound or wrong:
            refused = (
                f"parts from {first} by {difference:.1e} of the logits' range, with another label on {wrong:,} pixels that "
                f"are no ties; expected at most {bound:.0e} and none"
            )
        entries[name] = Entry(difference=difference, refused=refused)
    times = timed({n: b for n, b in opened.items() if not entries[n].refused}, images)
    return {n: Entry(times.get(n), e.difference, e.refused) for n, e in entries.items()}


class _Answer:
    """What the first engine gives for a picture, beside which the others' answers are held."""

    def __init__(self, backend: LogitsBackend, logits: NDArray[Any], bound: float) -> None:
        self._backend, self._bound, self.logits = backend, bound, logits
        self._size = backend.artifact.height, backend.artifact.width
        self._labels = backend.labels(logits)
        self._clear: NDArray[np.bool_] | None = None

    def clearly_different(self, found: NDArray[Any]) -> int:
        """Pixels with another label that are no ties."""
        if not np.isfinite(found).all():
            return int(np.prod(self._size))
        differing = self._backend.labels(found) != self._labels
        if not differing.any():
            return 0
        if self._clear is None:  # every class upsampled: the dearest step of a trial
            self._clear = clear(self.logits, self._size, self._bound, self._backend.artifact.align_corners)
        return int(np.sum(differing & self._clear))


def timed(backends: Mapping[str, LogitsBackend], images: list[NDArray[Any]]) -> dict[str, float]:
    """Medians, in turns. Who is far behind after two rounds stays out of the others, but keeps its time."""
    least, most = _ROUNDS
    times: dict[str, list[float]] = {name: [] for name in backends}
    running = list(backends)
    began = time.perf_counter()
    for turn in range(most):
        if turn >= least and time.perf_counter() - began > _SECONDS:
            break
        if turn >= _SHORTEST:
            fastest = min(min(times[name]) for name in running)
            running = [name for name in running if min(times[name]) < _HOPELESS * fastest]
        for name in running:
            if turn == 0:
                note(name)
            time.sleep(_PAUSE)
            started = time.perf_counter()
            backends[name].logits(images[turn % len(images)])
            times[name].append((time.perf_counter() - started) * 1e3)
    return {name: float(np.median(values)) for name, values in times.items()}


def _winner(entries: Mapping[str, Entry]) -> str:
    times = {name: e.milliseconds for name, e in entries.items() if e.milliseconds is not None}
    fastest = min(times, key=lambda name: times[name])
    return REFERENCE if REFERENCE in times and times[fastest] > _CLEARLY * times[REFERENCE] else fastest


def _facts(path: str | Path, threads: int | None) -> dict[str, Any]:
    """Whatever may change the outcome; ArtifactError where there is no such file."""
    return {
        "model": hashlib.sha256(onnx_file.read(path)).hexdigest(),
        "threads": threads or usable_cores(),
        "cores": usable_cores(),
        "processor": processor(),
        "gpus": sorted(node.name for node in Path("/dev/dri").glob("renderD*")),
        "versions": {"fastscnn": __version__, **versions("onnxruntime", "openvino")},
    }


def processor() -> str:
    """Model and instruction sets, by which engines choose their kernels."""
    wanted = ("model name", "flags", "Features", "CPU part")
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    pairs = [line.partition(":")[::2] for line in lines]
    told = {key.strip(): value.strip() for key, value in pairs if key.strip() in wanted}
    flags = hashlib.sha256((told.get("flags", "") + told.get("Features", "")).encode()).hexdigest()[:8]
    return f"{told.get('model name') or told.get('CPU part') or platform.machine()} ({flags})"


def versions(*packages: str) -> dict[str, str]:
    """Those that are installed."""
    found: dict[str, str] = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _place(facts: Mapping[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return cache() / f"trial-{digest[:16]}.json"


def _keep(trial: Trial) -> None:
    content = {
        "facts": trial.facts,
        "chosen": trial.chosen,
        "busy": trial.busy,
        "entries": {name: asdict(entry) for name, entry in trial.entries.items()},
    }
    try:
        place = _place(trial.facts)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, (json.dumps(content, indent=2) + "\n").encode())
    except (OSError, FastSCNNError) as error:
        log.debug("the trial's result cannot be kept (%s); the next start tries again", error)


__all__ = [
    "Entry",
    "Trial",
    "UntriedError",
    "compare",
    "expect_agreement",
    "hold",
    "known",
    "open_one",
    "run_apart",
    "scene",
    "timed",
]
