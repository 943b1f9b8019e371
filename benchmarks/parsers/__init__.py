"""Whether every parser takes the exports: `python -m fastscnn.benchmarks.parsers`."""

__all__: list[str] = []
