"""The comparison with peers as ratios, a table, a page and a picture's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..machine import sentence

Report = Mapping[str, Any]


def ratios(entries: Sequence[Report]) -> dict[str, Any]:
    """How many times as fast our fastest is as each peer that matters; only of those that were timed."""
    timed = [e for e in entries if "median" in e]
    ours = min((e for e in timed if e["ours"]), key=lambda e: e["median"], default=None)
    peers = [e for e in timed if not e["ours"]]
    if ours is None or not peers:
        return {}
    fastest = min(peers, key=lambda e: e["median"])
    found = {
        "ours": ours["name"],
        "fastest_peer": fastest["name"],
        "to_fastest_peer": fastest["median"] / ours["median"],
    }
    for key, name in (("to_onnxruntime", "ONNX Runtime in-graph"), ("to_pytorch_eager", "PyTorch eager")):
        times = [e["median"] for e in peers if e["name"] == name]
        if times:
            found[key] = times[0] / ours["median"]
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in found.items()}


def as_table(report: Report) -> str:
    """Markdown: a row a competitor, a column a resolution; times in milliseconds, with our fastest's ratio to each peer."""
    results = report["results"]
    head = " | ".join(result["resolution"] for result in results)
    lines = [f"| {report['head']}: frame to result, ms | {head} |", "|---|" + "---:|" * len(results)]
    for entry in results[0]["entries"]:
        name = f"**{entry['name']}**" if entry["ours"] else entry["name"]
        lines.append(f"| {name} | " + " | ".join(_cell(result, entry["name"]) for result in results) + " |")
    for precision in results[0].get("peaks", {}):
        times = (result["peaks"].get(precision) for result in results)
        row = " | ".join("–" if time is None else f"{time:.1f}" for time in times)
        lines.append(f"| a product of matrices, {precision} | {row} |")
    for entry in results[0]["entries"]:
        if entry.get("precision") and any(_nearness(result, entry["name"]) for result in results):
            row = " | ".join(_nearness(result, entry["name"]) or "–" for result in results)
            lines.append(f"| {entry['name']}: network (of that peak) | {row} |")
    lines.append("")
    for result in results:
        found = result["ratios"]
        if not found:
            continue
        parts = [f"{found['to_fastest_peer']:.2f} times as fast as the fastest peer ({found['fastest_peer']})"]
        parts += [f"{found['to_onnxruntime']:.2f} times as ONNX Runtime in-graph"] * ("to_onnxruntime" in found)
        parts += [f"{found['to_pytorch_eager']:.2f} times as PyTorch eager"] * ("to_pytorch_eager" in found)
        lines.append(f"- {result['resolution']}: {found['ours']} is {', '.join(parts)}.")
    absent = {(e["name"], e["absent"]) for result in results for e in result["entries"] if e["absent"]}
    lines += [f"- not timed: {name}: {why}" for name, why in sorted(absent)]
    return "\n".join(lines)


def as_markdown(report: Report, picture: str) -> str:
    stages = "\n".join(_stages(result) for result in report["results"])
    return f"""# Peers, {report["head"]} head

Made by `{report["command"]}`.

{as_table(report)}

Medians of {report["rounds"]} rounds, {report["threads"]} threads each, one after the other on every frame, of {report["frames_of"]}.
The timer encloses everything from a BGR frame of the model's size to its result: preparation, network, upsampling, arg-max or soft-max.
Every row gave the label of ONNX Runtime's own graph on at least 99.5% of pixels; the number in brackets is the smallest share.
The product of matrices has as many multiply-adds as the network, in OpenVINO, the best of its runs: the peak of this machine's arithmetic.
Below it stands what our network alone takes, and which share of that peak it reaches.
{sentence(report["machine"])}.

Our stages (medians, ms):

{stages}

![milliseconds of each]({picture})
"""


def bars(report: Report) -> dict[str, dict[str, float]]:
    """Resolution → name → milliseconds, of those that were timed."""
    return {r["resolution"]: {e["name"]: e["median"] for e in r["entries"] if "median" in e} for r in report["results"]}


def _cell(result: Report, name: str) -> str:
    entry = next((e for e in result["entries"] if e["name"] == name), None)
    if entry is None or "median" not in entry:
        return "–"
    return f"{entry['median']:.1f} ({entry['agreement']:.2%})"


def _nearness(result: Report, name: str) -> str:
    """How long our network alone takes, and what share of the machine's peak that is; "" where it was not timed."""
    entry: Report = next((e for e in result["entries"] if e["name"] == name), {})
    peak = result.get("peaks", {}).get(entry.get("precision"))
    forward = entry.get("stages", {}).get("forward")
    return f"{forward:.1f} ({peak / forward:.0%})" if peak and forward else ""


def _stages(result: Report) -> str:
    lines = [
        f"- {result['resolution']}, {entry['name']}: "
        + ", ".join(f"{stage} {milliseconds:.2f}" for stage, milliseconds in entry["stages"].items())
        for entry in result["entries"]
        if entry.get("stages")
    ]
    return "\n".join(lines)
