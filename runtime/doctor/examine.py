"""Looks at everything at once. No look can fail, crash or hang the others."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

from . import auto, graphics, jetson, launch, machine, model, opencv, software, source
from .finding import FAILURE, WARNING, Finding

log = logging.getLogger(__name__)

Probe = Callable[[], Iterator[Finding]]
PATIENCE = 240.0  # seconds for all; what has not answered then is reported as such
SECTIONS = ("software", "engines", "machine", "GPU", "cameras", "source", "model")
PROBES: dict[str, tuple[str, Probe]] = {
    "Python": ("software", software.python),
    "fastscnn": ("software", software.package),
    "NumPy": ("software", software.numpy),
    "OpenCV": ("software", opencv.opencv),
    "packages": ("software", opencv.conflicts),
    "decode": ("software", software.decode),
    "commands": ("software", launch.commands),
    "engines": ("engines", software.engines),
    "auto": ("engines", auto.auto),
    "processor": ("machine", machine.processor),
    "clocks": ("machine", machine.clocks),
    "temperature": ("machine", machine.temperature),
    "memory": ("machine", machine.memory),
    "disk": ("machine", machine.disk),
    "GPU": ("GPU", graphics.gpu),
    "CUDA toolkit": ("GPU", graphics.cuda),
    "GPU state": ("GPU", graphics.state),
    "Jetson": ("GPU", jetson.jetson),
    "cameras": ("cameras", machine.cameras),
    "GStreamer": ("cameras", source.gstreamer),
}


def examine(path: str | None = None, patience: float = PATIENCE) -> list[Finding]:
    """Every finding, by section; with a model's path also whether it fits here, with a source also what it gives. Raises nothing."""
    probes = dict(PROBES)
    if path is not None and source.is_source(path):
        probes["source"] = ("source", partial(source.source, path))
    elif path is not None:
        probes["model"] = ("model", partial(model.fit, path))
    found: dict[str, list[Finding]] = {}

    def look(name: str, section: str, probe: Probe) -> None:
        findings: list[Finding] = []
        try:
            findings.extend(probe())
        except BaseException as error:  # a broken machine raises what it likes, and this thread has nothing to unwind
            log.debug("the look at %s failed", name, exc_info=True)
            findings.append(_unseen(section, name, f"could not be looked at ({type(error).__name__}: {error})"))
        found[name] = findings

    # Daemons: a look that hangs, at a dead network disk for one, must not keep the doctor.
    threads = [
        threading.Thread(target=look, args=(name, *probe), name=f"fastscnn-doctor-{name}", daemon=True)
        for name, probe in probes.items()
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    for name, (section, _) in probes.items():
        if name not in found:
            found[name] = [_unseen(section, name, f"has not answered for {patience:g} s")]
    return [finding for section in SECTIONS for name in probes for finding in found[name] if finding.section == section]


def _unseen(section: str, name: str, what: str) -> Finding:
    # A model that could not be looked at is none that fits; the same goes for a source.
    status = FAILURE if section in ("model", "source") else WARNING
    return Finding(section, name, status, what, "Look with --debug, and tell this project's authors what it says")
