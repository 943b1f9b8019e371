"""`python -m fastscnn.benchmarks.soak`."""

import contextlib
import os

from .cli import main

with contextlib.suppress(OSError, AttributeError):
    os.nice(19)
raise SystemExit(main())
