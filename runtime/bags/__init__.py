"""Recordings of robots: `fastscnn-bag`, the labelling of one log as a unit of work, and many logs on many machines.

`rosbags` (extra `bag`) is imported when a bag is opened, Ray (extra `fleet`) when it is asked for.
"""

from .labeller import Labeller

__all__ = ["Labeller"]
