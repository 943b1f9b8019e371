"""Software of others, for tests and benchmarks: each set of versions in a folder of its own, beside this environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..runtime.errors import FastSCNNError

_FOLDER = Path(sys.prefix) / "others"
_INSTALLING = 600.0  # seconds
_BASE = str(getattr(sys, "_base_executable", sys.executable))  # without this environment's packages


@dataclass(frozen=True)
class Others:
    """Packages of exact versions that would not go together with this project's, or with one another."""

    name: str
    packages: tuple[str, ...]  # for pip
    alone: bool = False  # without what they say they require

    @property
    def folder(self) -> Path:
        return _FOLDER / self.name

    @property
    def ready(self) -> bool:
        """Whether they are installed, in these versions."""
        try:
            return self._stamp.read_text() == self._wanted
        except OSError:
            return False

    @property
    def _stamp(self) -> Path:
        return _FOLDER / f"{self.name}.installed"

    @property
    def _wanted(self) -> str:
        return " ".join((*self.packages, "alone" if self.alone else "")).strip()

    def install(self) -> None:
        """With pip, unless they are there.

        Raises:
            FastSCNNError: pip does not find or install them.
        """
        if self.ready:
            return
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--upgrade"]
        words = [*pip, *(["--no-deps"] if self.alone else []), "--target", str(self.folder), *self.packages]
        done = subprocess.run(words, capture_output=True, text=True, timeout=_INSTALLING)
        if done.returncode:
            raise FastSCNNError(f"{self.name} cannot be installed: {last_line(done.stderr)}")
        self._stamp.write_text(self._wanted)

    def run(self, script: Path, *arguments: object, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run a script with these packages alone, one thread of arithmetic.

        Raises:
            subprocess.TimeoutExpired: it takes longer, in seconds.
        """
        return subprocess.run(
            [_BASE, "-s", str(script), *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"},
            capture_output=True,
            text=True,
            timeout=timeout,
        )


def install(wanted: Sequence[Others]) -> None:
    """Install those that are not there, one after the other, saying which."""
    for others in wanted:
        if not others.ready:
            print(f"installing {' '.join(others.packages)}", file=sys.stderr)
            others.install()


def last_line(text: str) -> str:
    """What a program said at its end, without frames of a trace and empty lines."""
    lines = [line.strip() for line in text.splitlines() if line.strip(" >\t") and not line.lstrip()[:1].isdigit()]
    return lines[-1][:200] if lines else "no message"
