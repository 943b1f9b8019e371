"""Every error that this package raises on purpose, and the exit code that its commands end with.

    FastSCNNError                    1  failed at run time
    ├── UsageError                   2  the caller asked for something that does not exist (also a ValueError)
    │   └── FrameError               2  a frame that cannot be segmented exactly
    ├── ParityError                  3  an artefact does not compute what its source computes
    ├── ArtifactError                4  a file that is not, or no longer, what it should be
    │   └── DeviceError              4  a sound artefact that this machine cannot run
    ├── BuildError                   1  TensorRT could not build an engine, though nothing speaks against it
    ├── TrainingError                1  a training that cannot go on
    ├── SourceError                  1  an image, video or camera that gives no (more) frames
    │   └── StalledError             1  a stream that gave no result in time, and goes on (also a TimeoutError)
    └── OutputError                  1  a result that could not be written

A message says what was found, what was expected and what to do next, in this order.
"""

from __future__ import annotations

DONE, FAILED, USAGE, PARITY, MISFIT = 0, 1, 2, 3, 4
INTERRUPTED = 130  # what shells expect after Ctrl-C: 128 + SIGINT


class FastSCNNError(Exception):
    """Base of the tree; catch it to catch them all."""

    exit_code = FAILED


class UsageError(FastSCNNError, ValueError):
    """An option, a name or a size that cannot be used."""

    exit_code = USAGE


class FrameError(UsageError):
    """A frame whose type, shape or size cannot be segmented exactly."""


class ParityError(FastSCNNError):
    """An artefact whose results part from its source's by more than the documented bound."""

    exit_code = PARITY


class ArtifactError(FastSCNNError):
    """A model file that is missing, damaged or not from this project."""

    exit_code = MISFIT


class DeviceError(ArtifactError):
    """The artefact is sound, but the device or an installed package cannot run it."""


class BuildError(FastSCNNError):
    """An engine that TensorRT could not build here and now: no memory, no tactic."""


class TrainingError(FastSCNNError):
    """A training that cannot go on, such as after a loss that is not a number."""


class SourceError(FastSCNNError):
    """An input that cannot be opened, is not what its name says, or stopped."""


class StalledError(SourceError, TimeoutError):
    """No result within the timeout that the caller set; the stream goes on."""


class OutputError(FastSCNNError):
    """An output that could not be written: no space, no permission, no codec."""
