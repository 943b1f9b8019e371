"""`python -m fastscnn.benchmarks.neighbours`."""

from .cli import main

raise SystemExit(main())
