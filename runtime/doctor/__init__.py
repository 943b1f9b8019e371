"""What this machine has and lacks: found without NumPy, OpenCV or any engine, each of which may be what is broken."""

from .examine import examine
from .finding import Finding

__all__ = ["Finding", "examine"]
