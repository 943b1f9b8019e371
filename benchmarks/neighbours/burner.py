"""One busy neighbour, in a process of its own: it computes and sweeps through memory until its parent is gone."""

from __future__ import annotations

import os
import sys

import numpy as np

_BYTES = 32 << 20  # more than most cores' share of the last cache
_SIDE = 192  # of the products, whose factors fit the first caches


def main() -> None:
    """A sweep through memory, then as long in the caches: as cameras, maps and planners take turns."""
    parent = os.getppid()
    memory = np.ones(_BYTES // 4, np.float32)
    factor = np.full((_SIDE, _SIDE), 1 / _SIDE, np.float32)
    print("busy", flush=True)
    while os.getppid() == parent:
        np.multiply(memory, np.float32(1), out=memory)
        for _ in range(20):
            factor = factor @ factor
    sys.exit(0)


if __name__ == "__main__":
    main()
