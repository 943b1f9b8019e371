"""Hours of what a robot does, and whether anything grows: `python -m fastscnn.benchmarks.soak`."""

__all__: list[str] = []
