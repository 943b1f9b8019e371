"""A function of this package in a process of its own: what crashes, hangs or ends the process there costs a sentence here."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from typing import Any

_ANSWER, _NOTE = "fastscnn-answer ", "fastscnn-note "
_CODE = (
    "import json, sys; asked = json.loads(sys.argv[1]); sys.path[:] = asked['path']; "
    "from fastscnn.runtime import apart; apart.answer(asked['function'], asked['about'])"
)


class UnansweredError(Exception):
    """The process gave no answer; says why.

    Attributes:
        note: what it told last that it was about to do; "" where it told nothing.
        died: the process ended before it could answer, which may pass; what raised or hung will again.
    """

    def __init__(self, message: str, note: str = "", died: bool = False) -> None:
        super().__init__(message)
        self.note = note
        self.died = died


def call(function: str, patience: float, **about: Any) -> dict[str, Any]:
    """What `function` ("doctor.child:module") gives for these arguments; both sides speak JSON.

    Raises:
        UnansweredError: the process crashed or hung, or the function raised.
    """
    asked = json.dumps({"path": sys.path, "function": function, "about": about})
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CODE, asked],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=patience,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        )
    except subprocess.TimeoutExpired as error:
        raise UnansweredError(f"it hangs: no answer for {patience:g} s", _told(error.stdout or b"", _NOTE)) from None
    except (
        OSError,
        ValueError,
        TypeError,
    ) as error:  # where Python is a part of another program, it may not know itself
        reason = error.strerror if isinstance(error, OSError) else error
        raise UnansweredError(f"no process can be started ({reason})") from None
    if said := _told(done.stdout, _ANSWER):
        told: dict[str, Any] = json.loads(said)
        if "failed" in told:
            raise UnansweredError(told["failed"])
        return told
    raise UnansweredError(reason_of(done), _told(done.stdout, _NOTE), died=True)


def reason_of(done: subprocess.CompletedProcess[bytes]) -> str:
    """Why a process that was to succeed has not."""
    if done.returncode < 0:
        return f"it crashes ({signal.Signals(-done.returncode).name})"
    said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
    return f"it ends the process ({said[-1]})"


def answer(function: str, about: dict[str, Any]) -> None:
    """In the child: call the function and print what it gives where the parent finds it."""
    module, _, name = function.partition(":")
    try:
        told = getattr(importlib.import_module(f".{module}", __package__), name)(**about)
    except Exception as error:
        lines = str(error).strip().splitlines()
        told = {"failed": lines[0] if lines else type(error).__name__}
    print(f"\n{_ANSWER}{json.dumps(told)}", flush=True)


def note(text: str) -> None:
    """In the child: what it is about to do, for the case that it never returns."""
    print(f"\n{_NOTE}{text}", flush=True)


def _told(output: bytes, mark: str) -> str:
    lines = output.decode(errors="replace").splitlines()
    return next((line.removeprefix(mark) for line in reversed(lines) if line.startswith(mark)), "")
