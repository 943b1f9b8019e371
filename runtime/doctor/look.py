"""Ways to look at a machine that give nothing instead of failing, and a process of its own for what may crash or hang."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

ROOT = Path("/")  # below which /proc, /sys, /dev and /etc are; tests have others
PATIENCE = 60.0  # seconds for a process that imports a package
_AT_ONCE = threading.Semaphore(4)  # such processes; a small robot has little memory
_MARK = "fastscnn-doctor-answer "
_CODE = (
    "import json, sys; question = json.loads(sys.argv[1]); sys.path[:] = question['path']; "
    "from fastscnn.runtime.doctor import child; child.answer(question)"
)


class UnansweredError(Exception):
    """A question that a child process could not answer; says why."""


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
    asked = json.dumps({"path": sys.path, "question": question, "about": about})
    with _AT_ONCE:
        try:
            done = subprocess.run(
                [sys.executable, "-c", _CODE, asked],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=PATIENCE,
                env={**os.environ, "PYTHONIOENCODING": "utf-8"},
            )
        except subprocess.TimeoutExpired:
            raise UnansweredError(f"it hangs: no answer for {PATIENCE:g} s") from None
        except OSError as error:
            raise UnansweredError(f"no process can be started ({error.strerror})") from None
    lines = done.stdout.decode(errors="replace").splitlines()
    for line in reversed(lines):
        if line.startswith(_MARK):
            told: dict[str, Any] = json.loads(line.removeprefix(_MARK))
            if "failed" in told:
                raise UnansweredError(told["failed"])
            return told
    if done.returncode < 0:
        raise UnansweredError(f"it crashes ({signal.Signals(-done.returncode).name})")
    said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
    raise UnansweredError(f"it ends the process ({said[-1]})")


def tell(told: dict[str, Any]) -> None:
    """Called in the child: print its answer where the parent finds it."""
    print(f"\n{_MARK}{json.dumps(told)}", flush=True)
