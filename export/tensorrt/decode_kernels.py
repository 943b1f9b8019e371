"""The runtime's decode kernels, compiled for an engine's GPUs so that the robot compiles nothing."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ...runtime.engine_file import Kernels
from ...runtime.errors import DeviceError

log = logging.getLogger(__name__)


def compiled(targets: Sequence[str]) -> Kernels | None:
    """A binary for each target, or None, said aloud, where this machine has no compiler for them."""
    try:
        from ...runtime.kernels import digest
        from ..kernels import compile_kernels

        return Kernels(digest(), compile_kernels(targets))
    except (DeviceError, ImportError) as error:
        log.warning("the engine gets no decode kernels, so the robot will decode on its CPU: %s", error)
        return None
