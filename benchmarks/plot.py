"""Pictures of a measurement."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import DeviceError
from ..runtime.files import write_atomically


def plot_latencies(path: Path, latencies: Mapping[str, NDArray[np.float64]], title: str) -> None:
    """Latency of each measured frame, one line a pipeline, with its median.

    Raises:
        DeviceError: matplotlib is not installed.
        OutputError: the picture cannot be written.
    """
    try:
        import matplotlib
    except ImportError:
        raise DeviceError("--plot needs matplotlib: pip install 'fastscnn[plot]'") from None
    import io

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(10, 4), layout="constrained")
    for name, values in latencies.items():
        (line,) = axes.plot(values, marker=".", linewidth=0.8, label=f"{name}: median {np.median(values):.1f} ms")
        axes.axhline(float(np.median(values)), color=line.get_color(), linewidth=0.8, linestyle="--")
    axes.set(xlabel="measured frame", ylabel="frame to result, ms", ylim=(0, None))
    axes.set_title(title, fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix.lstrip(".") or "png", dpi=120)
    pyplot.close(figure)
    write_atomically(path, buffer.getvalue())
