"""A drawn street with exact labels: sample clip, test frames, extra training data."""

from .street import RATE, Street, drawn

__all__ = ["RATE", "Street", "drawn"]
