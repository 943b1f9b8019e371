"""`python -m fastscnn.benchmarks.tools`."""

from .cli import main

raise SystemExit(main())
