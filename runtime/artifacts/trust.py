"""Which engines bring code for the CPU, and who decides that it may run."""

from __future__ import annotations

from ..errors import ArtifactError
from .engine_file import EngineDescription


def expect_trust(description: EngineDescription, source: str, trusted: bool) -> None:
    """Refuse an engine with host code that nobody vouched for.

    A version-compatible plan carries a small TensorRT of its own, native code that runs with the rights of the process.
    The checksums tell damage, not origin: who changes the plan changes the description, too. A plan that hides its code
    behind a description without it does not open: TensorRT is told to allow such code only where this function passed.

    Raises:
        ArtifactError: it has host code and `trusted` is false.
    """
    if description.version_compatible and not trusted:
        raise ArtifactError(
            f"{source} is version-compatible: it carries native code, which would run here with your rights. Where you built "
            "it yourself or trust whoever did, say so with --trust (Segmenter(…, trust=True)); else build it here from "
            f"{description.source} with fastscnn-trt build"
        )
