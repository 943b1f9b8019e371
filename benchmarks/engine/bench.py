"""What `fastscnn-bench` does with an engine."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from ...runtime import Segmenter
from ...runtime.artifacts.files import write_atomically
from ...runtime.commands import command
from ...runtime.errors import UsageError
from ...runtime.frame import Frame
from .. import plot
from .baseline import HOW
from .layer_plot import plot_layers
from .report import as_text, measure


def run(segmenter: Segmenter, options: argparse.Namespace, frames: Sequence[Frame], origin: str) -> None:
    """Measure, print, and write what the options ask for.

    Raises:
        UsageError: --baseline without its engine, or what only other models have.
        ParityError: the baseline says something else.
    """
    if options.baseline and options.baseline_engine is None:
        raise UsageError(f"an engine's --baseline needs --baseline-engine PLAN: one of {HOW}")
    if options.compare:
        raise UsageError("--compare is for reports of ONNX files; compare the JSON of two engines by their stages")
    report = {
        "command": options.command,
        "model": options.model.name,
        "frames_of": origin,
        **measure(
            segmenter,
            frames,
            burn_in=options.burn_in,
            count=options.frames,
            baseline=options.baseline_engine,
            layers=options.layers,
        ),
    }
    text = as_text(report)
    if options.json != "-":
        print(text)
    if options.json:
        command.write_json(options.json, report)
    if options.markdown:
        page = f"# {report['model']}\n\nMade by `{report['command']}`.\n\n```text\n{text}\n```\n"
        write_atomically(options.markdown, page.encode())
    if options.plot and options.layers:
        plot_layers(options.plot, report["layers"], f"{report['description']}\n{report['device']}")
    elif options.plot:
        plot.plot_latencies(options.plot, {"frame to result": np.array(report["latencies"])}, report["description"])
