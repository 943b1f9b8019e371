"""One run's report: as text for people, as JSON for machines, and the refusal to compare what is not alike."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..runtime.artifacts.artifact import Artifact
from ..runtime.errors import UsageError
from .machine import sentence

Report = dict[str, Any]

ENCLOSES = {
    "forward": "the engine's run, from the input tensor to the low-resolution logits, both in memory",
    "frame to result": "everything from a BGR camera frame to its {result}: check, resize, layout, network, decode",
    "prepare": "check, resize and layout of the frame",
    "decode": "logits to {result}, and back to the frame's size",
}
_COMPARED = ("forward", "frame to result")
_ALIKE = (
    "head",
    "resolution",
    "batch",
    "classes",
    "precision",
    "input",
    "device",
    "processor",
    "frames_of",
    "encloses",
)


def describe_model(artifact: Artifact, precision: str | None = None) -> str:
    """In one line; an engine's precision can be another than its model's was meant to be."""
    weights = "trained weights" if artifact.trained else "random weights"
    network = "" if artifact.network == "Fast-SCNN" else f"{artifact.network}, "
    return (
        f"{network}{artifact.head} head, {precision or artifact.precision}, {artifact.input} input, height={artifact.height} width={artifact.width} "
        f"batch={artifact.batch}, {len(artifact.classes)} classes ({artifact.class_set}), {weights}"
    )


def as_text(report: Report) -> str:
    """The report as it stands on a terminal and, in a code block, in benchmarks/results."""
    lines = [
        f"{report['model']}: {report['description']}",
        f"{report['device']}; {sentence(report['machine'])}",
        f"{report['burn_in']} frames burn-in, the next {report['frames']} measured, of {report['frames_of']}",
        "",
        f"{'milliseconds':<18}{'mean':>9}{'min':>9}{'median':>9}{'p90':>9}{'p95':>9}{'p99':>9}{'p99-p50':>9}{'frames/s':>10}",
    ]
    lines += [_row(stage, numbers) for stage, numbers in report["stages"].items()]
    if "baseline" in report:
        baseline = report["baseline"]
        lines += [_row("baseline", baseline["total"]), ""]
        lines.append(f"baseline: {baseline['name']}, from the same frame with the same preparation, in turns with ours")
        lines.append(
            f"frame to result runs {baseline['ratio']:.2f} times as fast as the baseline (medians); {baseline['agreement']}"
        )
    if report["why"]:
        lines += ["", report["why"]]
    lines += ["", "what the timer encloses:"]
    lines += [f"  {stage:<16}{text}" for stage, text in report["encloses"].items()]
    lines.append(f"everything but the network takes {report['overhead']:.1%} of the network's own time (medians)")
    if report["memory_mb"]:
        before, after = report["memory_mb"]
        lines.append(f"memory: {before:.0f} MB after the burn-in, {after:.0f} MB at the end")
    if "compared" in report:
        lines.append(report["compared"])
    return "\n".join(lines)


def as_markdown(report: Report) -> str:
    return f"# {report['model']}\n\nMade by `{report['command']}`.\n\n```text\n{as_text(report)}\n```\n"


def alike(path: Path, about: Report) -> Report:
    """An earlier run's report, if it measured the same kind of thing as `about` says this run will.

    Raises:
        UsageError: no such report, or one of another head, resolution, machine or timer; names what differs.
    """
    try:
        earlier: Report = json.loads(path.read_text())
        for name in _COMPARED:
            float(earlier["stages"][name]["median"])
        theirs = _kind(earlier)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); expected a report that --json wrote") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path} is not a report that fastscnn-bench --json wrote ({type(error).__name__}: {error})"
        ) from error
    ours = _kind(about)
    unlike = [f"{key} ({theirs[key]} there, {ours[key]} here)" for key in _ALIKE if theirs[key] != ours[key]]
    if unlike:
        raise UsageError(f"{path} measured something else: {'; '.join(unlike)}. Compare runs that are alike in these")
    return earlier


def compared(report: Report, earlier: Report, name: str) -> str:
    """One sentence on how a run relates to an earlier one that is alike."""
    medians = [(stage, earlier["stages"][stage]["median"] / report["stages"][stage]["median"]) for stage in _COMPARED]
    parts = ", ".join(f"{stage} {ratio:.2f} times as fast" for stage, ratio in medians)
    changed = earlier["machine"]["packages"] != report["machine"]["packages"]
    return (
        f"compared with {name} (another run, so machine noise counts): {parts}" + "; package versions differ" * changed
    )


def _kind(report: Mapping[str, Any]) -> dict[str, Any]:
    return {key: report["machine"][key] if key == "processor" else report[key] for key in _ALIKE}


def _row(stage: str, numbers: Mapping[str, float]) -> str:
    columns = [numbers[key] for key in ("mean", "min", "median", "p90", "p95", "p99", "jitter")]
    rate = f"{numbers['frames_per_second']:>10.1f}" if stage not in ("prepare", "decode") else ""  # parts of a frame
    return f"{stage:<18}" + "".join(f"{value:>9.2f}" for value in columns) + rate


__all__ = ["ENCLOSES", "Report", "alike", "as_markdown", "as_text", "compared", "describe_model"]
