"""How many cores this process may use."""

from __future__ import annotations

import os

from .. import limits


def usable_cores() -> int:
    """Those of its affinity mask, or as many whole ones as a quota of its control group pays for; at least one."""
    try:
        found = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        found = os.cpu_count() or 1
    quota = limits.cores()
    return found if quota is None else max(1, min(found, int(quota)))
