"""This runtime and its peers beside other programs that want the same cores: `python -m fastscnn.benchmarks.neighbours`."""

__all__: list[str] = []
