"""`python -m fastscnn.benchmarks.gpu`."""

from .cli import main

raise SystemExit(main())
