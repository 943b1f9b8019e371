"""Ways to look at a machine that give nothing instead of failing, and a process of its own for what may crash or hang."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from ..apart import UnansweredError, call

ROOT = Path("/")  # below which /proc, /sys, /dev and /etc are; tests have others
PATIENCE = 60.0  # seconds for a process that imports a package
AT_ONCE = threading.Semaphore(4)  # such processes; a small robot has little memory


def text(path: str) -> str:
    """A file's text without surrounding space and NULs; "" where it cannot be read."""
    try:
        return (ROOT / path).read_text(errors="replace").strip(" \t\r\n\0")
    except OSError:
        return ""


def number(path: str) -> int | None:
    """A file that holds a whole number."""
    try:
        return int(text(path))
    except ValueError:
        return None


def matching(pattern: str) -> list[Path]:
    """Paths below the root by a pattern such as `dev/video*`, in natural order of their numbers."""
    try:
        return sorted(ROOT.glob(pattern), key=lambda path: (len(path.name), path.name))
    except OSError:
        return []


def output(*command: str, patience: float = 10.0) -> str:
    """What a program prints; "" where there is none, it fails, or it hangs."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=patience, env={**os.environ, "LC_ALL": "C"}
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else ""


def ask(question: str, **about: Any) -> dict[str, Any]:
    """The answer of the function of that name in `child`, in a process of its own.

    Raises:
        UnansweredError: the process crashed, hung, or what it tried failed; its message says which.
    """
    with AT_ONCE:
        return call(f"doctor.child:{question}", PATIENCE, **about)


def installed(distributions: Sequence[str]) -> list[str]:
    """Those of these packages that pip, or the system, knows."""
    found = []
    for name in distributions:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.extend([name] * bool(metadata.version(name)))
    return found


def numbers(version: str) -> tuple[int, ...]:
    """`"10.3.0.30"` → (10, 3, 0, 30), as far as there are numbers."""
    found = []
    for part in version.split(" ")[0].split("."):
        if not part.isdecimal():
            break
        found.append(int(part))
    return tuple(found)


__all__ = [
    "AT_ONCE",
    "PATIENCE",
    "UnansweredError",
    "ask",
    "installed",
    "matching",
    "number",
    "numbers",
    "output",
    "text",
]
