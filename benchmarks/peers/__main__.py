"""`python -m fastscnn.benchmarks.peers`."""

from .cli import main

raise SystemExit(main())
