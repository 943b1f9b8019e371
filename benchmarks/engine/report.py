"""`fastscnn-bench engine.plan`: the paper's protocol on the GPU, as numbers and as text."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime import Segmenter
from ...runtime.errors import ParityError, UsageError
from ...runtime.frame import Frame
from .. import power
from ..machine import machine
from ..protocol import Summary
from ..report import Report, describe_model
from . import timing
from .baseline import HOW, PlainEngine

log = logging.getLogger(__name__)
_HEADER = f"{'milliseconds':<50}{'mean':>9}{'min':>9}{'median':>9}{'p90':>9}{'p99':>9}{'p99-p50':>9}{'frames/s':>10}"
_TURNS = 4
_AGREEMENT = 0.99  # share of labels below which times are not compared


def measure(
    segmenter: Segmenter,
    frames: Sequence[Frame],
    *,
    burn_in: int = 100,
    count: int = 100,
    baseline: Path | None = None,
    layers: bool = False,
    energy_seconds: float = 3.0,
) -> Report:
    """Everything about one engine. What this device does not tell is null.

    Raises:
        UsageError: the model runs on something else than TensorRT, or the baseline's engine is none.
        ParityError: the baseline says something else.
    """
    backend = timing.backend_of(segmenter)
    before = power.state()
    wall = timing.wall_times(segmenter, frames, burn_in, count)
    stages = timing.stage_times(backend, frames[0], burn_in, count)
    rate = timing.copy_rate(backend)
    least = timing.floor(backend, rate)
    report: Report = {
        "description": describe_model(segmenter.artifact, segmenter.precision),
        "device": segmenter.device,
        "precision": backend.description.precision,
        "memory": backend.memory,
        "notes": backend.notes,
        "machine": machine(),
        "burn_in": burn_in,
        "frames": count,
        "frame_to_result": Summary.of(wall).as_dict(),
        "latencies": wall.tolist(),
        "stages": {name: summary.as_dict() for name, summary in stages.items()},
        "forward_and_decode_per_second": timing.device_rate(backend, frames[0], max(count, 10)),
        "pipelined_per_second": timing.pipelined_rate(segmenter, frames, max(count, 10)),
        "floor": least,
        "floor_ratio": stages[timing.FORWARD].median / segmenter.artifact.batch / least["milliseconds"],
        "achieved_bytes_per_second": least["bytes"] * segmenter.artifact.batch / stages[timing.FORWARD].median * 1e3,
        "decode_share": stages[timing.DECODE].median / stages[timing.FORWARD].median,
        "energy": timing.energy_per_frame(segmenter, frames, energy_seconds) if energy_seconds else None,
    }
    if baseline is not None:
        report["baseline"] = compared_with_baseline(segmenter, frames, baseline, burn_in, count)
    if layers:
        report["layers"] = named(timing.layer_times(backend, frames[0], max(count // 4, 5)), backend.description.layers)
    report["power"] = {"before": before, "after": power.state()}
    return report


def named(times: Mapping[str, float], layers: Sequence[Any]) -> list[dict[str, Any]]:
    """Each of TensorRT's layers with the network's modules that it computes, slowest first."""
    modules = {layer.name: layer.convolutions for layer in layers}
    rows = [{"layer": n, "modules": list(modules.get(n, ())), "milliseconds": t} for n, t in times.items()]
    return sorted(rows, key=lambda row: -row["milliseconds"])


def as_text(report: Report) -> str:
    floor, lines = report["floor"], [f"{report['model']}: {report['description']}", report["device"]]
    lines += [f"{report['burn_in']} frames burn-in, the next {report['frames']} measured", "", _HEADER]
    lines.append(_row("frame to result, host clock", report["frame_to_result"]))
    lines += [_row(name, numbers) for name, numbers in report["stages"].items()]
    if "baseline" in report:
        lines.append(_row("baseline, frame to result", report["baseline"]["total"]))
    lines += [
        "",
        f"forward + decode, one after the other in a stream: {report['forward_and_decode_per_second']:,.0f} frames/s",
    ]
    lines.append(f"frame to result, two frames in flight: {report['pipelined_per_second']:,.0f} frames/s")
    lines.append(
        f"memory floor: {floor['bytes'] / 1e6:,.1f} MB of activations at {floor['copy_bytes_per_second'] / 1e9:,.1f} GB/s "
        f"(a device copy, measured) = {floor['milliseconds']:.3f} ms; forward takes {report['floor_ratio']:.2f} times that"
    )
    lines.append(f"decode takes {report['decode_share']:.1%} of forward")
    if report["energy"]:
        energy = report["energy"]
        lines.append(
            f"{energy['joules_per_frame'] * 1e3:.2f} mJ a frame at {energy['watts']:.1f} W ({energy['source']})"
        )
    if "baseline" in report:
        baseline = report["baseline"]
        lines.append(f"{baseline['ratio']:.2f} times as fast as {baseline['name']} (medians); {baseline['agreement']}")
    for when, tools in report["power"].items():
        lines += [f"{when}: {' | '.join(text.splitlines())}" for text in tools.values()]
    for row in report.get("layers", ()):
        lines.append(f"{row['milliseconds']:9.4f} ms  {', '.join(row['modules']) or row['layer']}")
    return "\n".join([*lines, *(f"note: {note}" for note in report["notes"])])


def compared_with_baseline(
    segmenter: Segmenter, frames: Sequence[Frame], path: Path, burn_in: int, count: int
) -> dict[str, Any]:
    """In turns, so that clocks that change change for both."""
    backend = timing.backend_of(segmenter)
    if segmenter.artifact.head == "logits":
        raise UsageError(f"a logits model has no head to compare; expected cls or prob, and as baseline {HOW}")
    with contextlib.closing(PlainEngine(path, backend.context)) as plain:
        ours, theirs = segmenter(frames[0]), plain(frames[0])
        labels = theirs if theirs.ndim == 2 else theirs.argmax(axis=0)
        if ours.labels.shape != labels.shape:
            raise UsageError(
                f"{path} gives labels of {labels.shape}, this engine of {ours.labels.shape}. Use one of {HOW}"
            )
        share = float(np.mean(ours.labels == labels))
        if share < _AGREEMENT:
            raise ParityError(
                f"the baseline gives other labels on {1 - share:.2%} of pixels; expected at most {1 - _AGREEMENT:.0%}. "
                "Build both engines from the same weights"
            )
        turns = [
            [timing.wall_times(run, frames, burn, -(-count // _TURNS)) for run in (segmenter, plain)]
            for burn in (burn_in, *[0] * (_TURNS - 1))
        ]
    mine, plains = (np.concatenate(side) for side in zip(*turns, strict=True))
    total, ratio = Summary.of(plains), float(np.median(plains) / np.median(mine))
    return {"name": PlainEngine.name, "total": total.as_dict(), "ratio": ratio, "agreement": f"labels equal on {share:.4%} of pixels"}  # fmt: skip


def _row(name: str, numbers: Mapping[str, float]) -> str:
    columns = "".join(f"{numbers[key]:>9.3f}" for key in ("mean", "min", "median", "p90", "p99", "jitter"))
    return f"{name:<50}{columns}{numbers['frames_per_second']:>10.1f}"
