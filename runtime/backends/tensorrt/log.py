"""TensorRT's log through `logging`, and its errors gathered for the sentence that ends a failed build."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

_log = logging.getLogger("fastscnn.tensorrt")
VERBOSE = logging.DEBUG - 5  # tens of thousands of lines a build

_made: dict[int, Any] = {}  # TensorRT wants one logger a process, so one a module


class Gathered:
    """Errors since the gathering began, oldest first."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.warnings: set[str] = set()  # each is told once


_gatherings: list[Gathered] = []


def logger(module: Any) -> Any:
    """The `ILogger` of a TensorRT module."""
    if id(module) not in _made:
        _made[id(module)] = _make(module)
    return _made[id(module)]


@contextlib.contextmanager
def gathered() -> Iterator[Gathered]:
    """Collect TensorRT's errors meanwhile, from whichever thread; those that no exception follows become warnings."""
    gathering = Gathered()
    _gatherings.append(gathering)
    try:
        yield gathering
    finally:
        _gatherings.remove(gathering)
    for message in gathering.errors:
        _log.warning("TensorRT: %s", message)


def _make(module: Any) -> Any:
    severity = module.ILogger.Severity
    levels = {
        severity.INTERNAL_ERROR: logging.ERROR,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.WARNING,
        severity.INFO: logging.DEBUG,
        severity.VERBOSE: VERBOSE,
    }

    class Log(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            level = levels.get(severity, logging.WARNING)
            if level == logging.WARNING and any(message in gathering.warnings for gathering in _gatherings):
                level = logging.DEBUG
            # Most errors end in an exception that explains them, so alone they are a detail; see `gathered`.
            _log.log(logging.DEBUG if level == logging.ERROR else level, "TensorRT: %s", message)
            for gathering in _gatherings:
                if level == logging.ERROR:
                    gathering.errors.append(message)
                elif level == logging.WARNING:
                    gathering.warnings.add(message)

    return Log()
