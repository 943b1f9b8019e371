"""`python -m fastscnn.benchmarks.growth`."""

from .cli import main

raise SystemExit(main())
