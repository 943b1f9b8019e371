"""Does every installed command start? Each is asked for its version, in a process of its own, as a user would."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

from ..apart import reason_of
from . import look
from .finding import FAILURE, OK, Finding

_ITSELF = "fastscnn-doctor"


def commands() -> Iterator[Finding]:
    names = [name for name in _installed() if name != _ITSELF]
    if not names:
        return
    with ThreadPoolExecutor(2) as pool:
        told = dict(zip(names, pool.map(_failure, names), strict=True))
    broken = {name: why for name, why in told.items() if why}
    for name, why in broken.items():
        remedy = f"Mend what is told above, or look at {name} --debug --version"
        yield Finding("software", name, FAILURE, f"does not start: {why}", remedy)
    if not broken:
        yield Finding("software", "commands", OK, f"all {len(names)} start")


def _installed() -> list[str]:
    try:
        entries = metadata.distribution("fastscnn").entry_points
    except metadata.PackageNotFoundError:  # in a folder
        return []
    return sorted({entry.name for entry in entries if entry.group == "console_scripts"})


def _failure(name: str) -> str:
    """Why it does not start; "" where it does."""
    beside = Path(sys.executable).with_name(name)
    program = str(beside) if beside.exists() else shutil.which(name)
    if program is None:
        return "it is in no folder of PATH, nor beside this Python"
    with look.AT_ONCE:
        try:
            done = subprocess.run(
                [program, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=look.PATIENCE
            )
        except subprocess.TimeoutExpired:
            return f"it hangs: no answer for {look.PATIENCE:g} s"
        except OSError as error:
            return f"{error.strerror} ({program})"
    if done.returncode == 0:
        return ""
    return reason_of(done)
