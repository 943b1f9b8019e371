"""Pictures of a measurement."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime import install
from ..runtime.artifacts.files import write_atomically
from ..runtime.errors import DeviceError, UsageError

FORMATS = (".png", ".svg", ".pdf")


def expect_format(path: Path) -> None:
    """Refuse what cannot be drawn before the measurement, not after it.

    Raises:
        UsageError: another ending than FORMATS.
        DeviceError: matplotlib is not installed.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path} ends in {path.suffix or 'nothing'}; expected a picture: {', '.join(FORMATS)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise DeviceError(f"--plot needs matplotlib: {install.command('plot')}")


def plot_latencies(path: Path, latencies: Mapping[str, NDArray[np.float64]], title: str) -> None:
    """Latency of each measured frame, one line a pipeline, with its median.

    Raises:
        OutputError: the picture cannot be written.
    """
    import matplotlib

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
    _save(figure, path)


def plot_bars(path: Path, groups: Mapping[str, Mapping[str, float]], title: str) -> None:
    """A panel a group, a bar a name, with its number; names that begin alike with "this runtime" stand out.

    Raises:
        OutputError: the picture cannot be written.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    rows = max(len(values) for values in groups.values())
    figure, panels = pyplot.subplots(
        1, len(groups), figsize=(1 + 5 * len(groups), 1 + 0.32 * rows), layout="constrained", squeeze=False
    )
    for axes, (group, values) in zip(panels[0], groups.items(), strict=True):
        names = sorted(values, key=lambda name: values[name], reverse=True)
        colours = ["tab:green" if name.startswith("this runtime") else "tab:grey" for name in names]
        drawn = axes.barh(names, [values[name] for name in names], color=colours)
        axes.bar_label(drawn, fmt="%.1f", padding=2, fontsize=8)
        axes.set_title(group, fontsize=9)
        axes.margins(x=0.15)
        axes.tick_params(labelsize=8)
    figure.suptitle(title, fontsize=10)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot

    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:].lower(), dpi=120)
    pyplot.close(figure)
    write_atomically(path, buffer.getvalue())


def plot_growth(path: Path, sweeps: Mapping[str, Mapping[str, Sequence[tuple[float, float, float]]]]) -> None:
    """Two rows of panels, a column a sweep: milliseconds a frame above, peak memory below, a line a device.

    Resolution grows on logarithmic axes, where a power is a straight line; all else on linear ones that begin at zero.

    Raises:
        OutputError: the picture cannot be written.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    figure, panels = pyplot.subplots(
        2, len(sweeps), figsize=(3.2 * len(sweeps), 5.5), layout="constrained", squeeze=False
    )
    for column, (sweep, lines) in enumerate(sweeps.items()):
        power = sweep == "resolution"
        places = sorted({p[0] / (1e6 if power else 1) for points in lines.values() for p in points})
        for row, title in enumerate(("ms a frame", "peak MB of the process")):
            axes = panels[row, column]
            for device, points in lines.items():
                axes.plot(
                    [p[0] / (1e6 if power else 1) for p in points],
                    [p[1 + row] for p in points],
                    marker="o",
                    label=device,
                )
            axes.set_xlabel("megapixels" if power else sweep)
            if power:
                axes.set(xscale="log", yscale="log")
                axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
                for axis in (axes.xaxis, axes.yaxis):
                    axis.set_minor_locator(NullLocator())
            else:
                axes.set_ylim(0, None)
            axes.set_xticks(places, [f"{place:.3g}" for place in places])
            if not column:
                axes.set_ylabel(title)
            axes.grid(alpha=0.3)
    panels[0, 0].legend(fontsize=8)
    _save(figure, path)
