"""`python -m fastscnn.benchmarks.paper`."""

from .cli import main

raise SystemExit(main())
