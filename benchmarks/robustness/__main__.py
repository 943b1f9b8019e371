"""`python -m fastscnn.benchmarks.robustness`."""

from .cli import main

raise SystemExit(main())
