"""What bad light, weather, lenses and files cost: `python -m fastscnn.benchmarks.robustness`."""

__all__: list[str] = []
