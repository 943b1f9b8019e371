"""A picture of where an engine's time goes, by the network's modules."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...runtime.artifacts.files import write_atomically

_SHOWN = 40


def plot_layers(path: Path, rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Horizontal bars, slowest first; see `plot.expect_format` for the endings.

    Raises:
        OutputError: the picture cannot be written.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    shown = rows[:_SHOWN]
    figure, axes = pyplot.subplots(figsize=(11, 0.25 * len(shown) + 1.2), layout="constrained")
    names = [", ".join(row["modules"]) or row["layer"] for row in shown]
    labels = [f"{index + 1}. {name if len(name) < 80 else name[:77] + '...'}" for index, name in enumerate(names)]
    axes.barh(labels, [row["milliseconds"] for row in shown])
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=7)
    axes.set(xlabel="milliseconds, with TensorRT's profiler on")
    axes.set_title(title, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:].lower(), dpi=120)
    pyplot.close(figure)
    write_atomically(path, buffer.getvalue())
