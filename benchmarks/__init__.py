"""The paper's timing protocol, on this machine, against what a user would otherwise have."""

from .protocol import Measurement, Summary, measure

__all__ = ["Measurement", "Summary", "measure"]
