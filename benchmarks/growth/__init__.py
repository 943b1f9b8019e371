"""How time and memory grow: `python -m fastscnn.benchmarks.growth`."""

__all__: list[str] = []
