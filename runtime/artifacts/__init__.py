"""Files that describe themselves: reading, checking, fitting and writing them; the standard library is enough for all of it."""

from .artifact import Artifact

__all__ = ["Artifact"]
