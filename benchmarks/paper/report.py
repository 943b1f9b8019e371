"""The measured tables beside the paper's, and the list of commands for the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..machine import sentence
from ..report import Report
from . import published


def as_text(report: Report) -> str:
    """For a terminal, and in a code block for benchmarks/results."""
    return "\n".join(
        [*_about(report), "", *_rates(report), "", *_sizes(report), "", *_differences(report), "", *_rest()]
    )


def as_markdown(report: Report) -> str:
    return f"# The paper's tables\n\nMade by `{report['command']}`.\n\n```text\n{as_text(report)}\n```\n"


def _about(report: Report) -> Iterator[str]:
    yield f"{' and '.join(report['devices'])}; {sentence(report['machine'])}"
    yield f"weights: {report['weights']}; {report['frames_of']}"
    yield f"mean of {report['frames']} frames after {report['burn_in']} of burn-in"


def _rates(report: Report) -> Iterator[str]:
    yield "Table 5: frames per second"
    yield f"{'head':<6}{'resolution':<12}{'network + head':>16}{'frame to result':>17}{'paper, ' + published.DEVICE:>19}"
    for head in ("cls", "prob"):
        for row in report["rows"]:
            size, times = _size(row), row[head]
            yield (
                f"{head:<6}{_named(size):<12}{1e3 / times['network_and_head']:>16.1f}"
                f"{1e3 / times['frame_to_result']:>17.1f}{_number(published.RATES.get((head, size)), 1):>19}"
            )


def _sizes(report: Report) -> Iterator[str]:
    scored = report["data"]
    yield "Table 7: the size of the input"
    yield (
        f"{'resolution':<12}{'parameters':>12}{'multiply-adds':>15}{'frames/s, cls':>15}{'paper':>8}"
        f"{'mean IoU, val':>15}{'paper, test':>13}"
    )
    for row in report["rows"]:
        size = _size(row)
        yield (
            f"{_named(size):<12}{row['parameters'] / 1e6:>10.2f} M{row['multiply_adds'] / 1e9:>13.2f} G"
            f"{1e3 / row['cls']['network_and_head']:>15.1f}{_number(published.RATES.get(('cls', size)), 1):>8}"
            f"{_number(row['mean_iou'], 1):>15}{_number(published.ACCURACY.get(size), 1):>13}"
        )
    if not scored:
        yield "mean IoU: not measured; --checkpoint with --data scores weights of yours on their val split"


def _differences(report: Report) -> Iterator[str]:
    ours = report["rows"][0]["parameters"] / 1e6
    yield "What differs from the paper:"
    yield f"- the machine: the paper's figures are those of one {published.DEVICE}"
    yield f"- parameters: its text says {published.PARAMETERS / 1e6:.2f} M; the layers of its table 1 add up to {ours:.2f} M for {report['classes']} classes"
    yield "- network + head: low-resolution logits, then the exact decode outside the graph, not an upsampling inside it"
    yield "- prob: float32 probabilities of every pixel in host memory; the paper's stay on the card"
    if report["data"]:
        yield f"- accuracy: {report['data']}, val; the paper's table 7 is Cityscapes' test split"


def _rest() -> Iterator[str]:
    yield "Tables 4 and 6 and the ablations need trainings on Cityscapes and ImageNet (1000 epochs each):"
    for experiment in published.EXPERIMENTS:
        where = experiment.table if experiment.table.startswith("section") else f"table {experiment.table}"
        yield f"  {where}, {experiment.row} (paper: {experiment.paper})"
        yield from (f"    {line}" for line in experiment.commands)
    yield "Not run here on those data, whose terms do not let them be carried along. Run here: every command above, in the tests,"
    yield "on small drawn data of their layouts; and trainings on CamVid, whose weights ship (model/weights/README.md)."


def _size(row: dict[str, Any]) -> tuple[int, int]:
    height, width = row["resolution"]
    return height, width


def _named(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
