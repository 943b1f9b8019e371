"""The suite of one GPU, in under eight minutes: `python -m fastscnn.benchmarks.gpu`."""

__all__: list[str] = []
