"""`python -m fastscnn.benchmarks.live`."""

from .cli import main

raise SystemExit(main())
