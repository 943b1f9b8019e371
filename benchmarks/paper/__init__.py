"""`python -m fastscnn.benchmarks.paper`: the paper's tables, by command."""

__all__: list[str] = []
