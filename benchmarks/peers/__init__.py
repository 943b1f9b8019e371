"""This runtime beside every other that runs the same weights on a CPU: `python -m fastscnn.benchmarks.peers`."""

__all__: list[str] = []
