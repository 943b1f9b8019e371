"""What other tools make of a file of this project, and what a Segmenter makes of that: `python -m fastscnn.benchmarks.tools`."""

__all__: list[str] = []
