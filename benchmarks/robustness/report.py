"""The table of a robustness run."""

from __future__ import annotations

from typing import Any

from ..machine import sentence

Report = dict[str, Any]


def as_table(report: Report) -> str:
    """Markdown: a row for each corruption, a column for each model; then what is left of the clean score on average."""
    models = report["scores"]
    lines = ["| corruption | " + " | ".join(models) + " |", "|---" + "|---:" * len(models) + "|"]
    first = next(iter(models.values()))
    for corruption in first:
        lines.append(
            f"| {corruption} | " + " | ".join(_percent(s[corruption]["mean_iou"]) for s in models.values()) + " |"
        )
    if len(first) > 1:
        means = [_mean([one["mean_iou"] for name, one in s.items() if name != "none"]) for s in models.values()]
        clean = [s["none"]["mean_iou"] for s in models.values()]
        lines.append("| **mean of the corruptions** | " + " | ".join(f"**{_percent(m)}**" for m in means) + " |")
        kept = [_percent(m / c if c else 0) for m, c in zip(means, clean, strict=True)]
        lines.append("| share of the clean score | " + " | ".join(kept) + " |")
    return "\n".join(lines)


def classes_table(report: Report, model: str) -> str:
    """Markdown: a row for each class of one model, a column for each corruption."""
    scores = report["scores"][model]
    lines = ["| class | " + " | ".join(scores) + " |", "|---" + "|---:" * len(scores) + "|"]
    for name in next(iter(scores.values()))["class_iou"]:
        lines.append(f"| {name} | " + " | ".join(_percent(one["class_iou"][name]) for one in scores.values()) + " |")
    return "\n".join(lines)


def as_markdown(report: Report) -> str:
    parts = [
        f"""# Mean IoU under corruptions

Made by `{report["command"]}`.

Per cent, {report["data"]}, {report["frames"]} pictures, severity {report["severity"]} of 5, seed {report["seed"]}. The corruptions stand in
[corruptions.py](../robustness/corruptions.py); a picture's random numbers follow from the seed and its name.

{as_table(report)}
"""
    ]
    parts += [
        f"## {model}\n\nIoU by class, per cent.\n\n{classes_table(report, model)}\n" for model in report["scores"]
    ]
    parts.append(f"{sentence(report['machine'])}.\n")
    return "\n".join(parts)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"
