"""The runtime's decode kernels, compiled for an engine's GPUs so that the robot compiles nothing."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence

from ...runtime.artifacts.engine_file import EngineDescription, Kernels
from ...runtime.decode.kernels import digest
from ...runtime.errors import DeviceError, UsageError
from ..kernels import compile_kernels

log = logging.getLogger(__name__)
# Binaries run on later GPUs of the same major compute capability; these have none of their own.
_SERVED_BY = {"sm121": "sm120"}


def complete(description: EngineDescription) -> bool:
    """Whether the engine has the kernels that it needs, of today's source."""
    if description.head_inside:
        return True
    held = description.kernels
    return held is not None and held.digest == digest() and set(held.binaries) == set(description.targets)


def compiled(targets: Sequence[str], held: Kernels | None = None) -> Kernels | None:
    """A binary for each target that the compiler knows, or None; what is missing is said aloud.

    Of the binaries `held`, those of today's source are kept as they are, and all of them where fewer would replace them.
    """
    today = held is not None and held.digest == digest()
    binaries = (
        {target: held.binaries[target] for target in targets if target in held.binaries} if held and today else {}
    )
    for target in targets:
        if target in binaries:
            continue
        try:
            binaries[target] = _binary(_SERVED_BY.get(target, target))
        except (DeviceError, UsageError) as error:
            log.warning("no decode kernels for %s: %s", target, error)
    if held is not None and len(binaries) < len(held.binaries):
        return held
    return Kernels(digest(), binaries) if binaries else None


@functools.cache
def _binary(target: str) -> bytes:
    """Once a process: compiling takes longer than many an engine."""
    return compile_kernels([target])[target]
