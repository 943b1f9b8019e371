"""`python -m fastscnn.benchmarks.parsers`."""

from .cli import main

raise SystemExit(main())
