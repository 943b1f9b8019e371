"""What `device="auto"` takes here, found out by opening the model that ships as a user's program would."""

from __future__ import annotations

import os
from collections.abc import Iterator

from .. import install
from ..artifacts.default_model import ready_model
from ..errors import ArtifactError
from .finding import OK, WARNING, Finding
from .look import UnansweredError, ask

_PREFERRED = "FASTSCNN_DEVICE"  # as in backends.choice, which needs NumPy


def auto() -> Iterator[Finding]:
    try:
        told = ask("trial", path=str(ready_model()))
    except ArtifactError:
        again = f"Install it again: {install.again()}"
        yield Finding("engines", "auto", WARNING, "cannot be tried: the model that ships is missing", again)
        return
    except UnansweredError as error:
        remedy = f"Install ONNX Runtime: {install.command('cpu')}; or build an engine and name it: -m model.plan"
        yield Finding("engines", "auto", WARNING, f"takes nothing: no ONNX file runs here ({error})", remedy)
        return
    found = f"takes {told['device']}: {told['milliseconds']:.1f} ms for a frame of the model that ships, {told['resolution']}"
    yield Finding("engines", "auto", OK, f"{found}; {told['why'] or _reason(told['device'])}")


def _reason(device: str) -> str:
    """Where no trial was held."""
    preferred = os.environ.get(_PREFERRED, "auto")
    if preferred != "auto":
        return f"{_PREFERRED}={preferred} says so"
    return "no trial of CPUs can beat it" if "CUDA" in device else "it is the only engine for ONNX files here"
