"""What was found: tables for people, and how far the defaults are from the best."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from statistics import geometric_mean
from typing import Any

from ..machine import sentence
from .field import LAST, UNTOUCHED

Found = dict[str, Any]
Entry = dict[str, Any]

# This runtime on a device, and the peers that compute the same.
_RIVALS = {
    "cpu": ("ONNX Runtime in-graph", UNTOUCHED),
    "openvino": ("OpenVINO f32 in-graph",),
    "openvino-bf16": (LAST,),
}
_WITHIN = 1.10  # of the best, that a default may take


def as_text(found: Found, jitter: bool) -> str:
    """Markdown: a table for each model size, thread count and number of models, and what follows from them."""
    lines: list[str] = []
    for (resolution, threads, models), settings in _tables(found):
        several = "one model" if models == 1 else f"{models} models in turn"
        lines += [f"### {resolution}, {_threads(threads)}, {several}", ""]
        lines += [*(_jitter_table(settings) if jitter else _table(settings)), ""]
        lines += [f"- {line}" for line in _neighbours_had(settings)]
        lines += [f"- not timed: {name}: {why}" for name, why in sorted(settings[0]["absent"].items())]
        lines.append("")
    lines += ["### Ratios", "", *(_even(found) if jitter else [*_against_peers(found), "", *_against_options(found)])]
    return "\n".join(lines)


def as_markdown(found: Found, jitter: bool) -> str:
    title = "Jitter" if jitter else "Beside other programs"
    return f"""# {title}

Made by `{found["command"]}`.

Frame to labels, milliseconds, everybody in turns on every frame of {found["frames_of"]}, {found["rounds"]} frames in each setting. A neighbour is a
process of one thread that computes and sweeps through 32 MB without pause. Of several models in turn a frame's share is told.
{sentence(found["machine"])}; load average {found["machine"].get("load_before", "unknown")} before the run.

{as_text(found, jitter)}
"""


def _tables(found: Found) -> Iterator[tuple[tuple[str, int, int], list[Entry]]]:
    def key(setting: Entry) -> tuple[str, int, int]:
        return setting["resolution"], setting["threads"], setting["models"]

    for which, settings in groupby(found["settings"], key):
        yield which, list(settings)


def _table(settings: list[Entry]) -> list[str]:
    columns = " | ".join(f"{s['neighbours']} neighbours: median | p99 | processor" for s in settings)
    lines = [f"| | {columns} |", "|---|" + "---:|---:|---:|" * len(settings)]
    for name in (entry["name"] for entry in settings[0]["entries"]):
        cells = []
        for setting in settings:
            one = _named(setting, name)
            cells.append(f"{one['median']:.1f} | {one['p99']:.1f} | {one['processor']:.1f}")
        lines.append(f"| {_shown(_named(settings[0], name))} | {' | '.join(cells)} |")
    return lines


def _jitter_table(settings: list[Entry]) -> list[str]:
    lines = ["| | neighbours | median | p99 | p99 − p50 | worst | page faults | switches |", "|---|" + "---:|" * 7]
    for setting in settings:
        for one in setting["entries"]:
            lines.append(
                f"| {_shown(one)} | {setting['neighbours']} | {one['median']:.2f} | {one['p99']:.2f} | {one['jitter']:.2f} "
                f"| {one['worst']:.1f} | {one['faults']:.0f} | {one['switches']:.1f} |"
            )
    return lines


def _neighbours_had(settings: list[Entry]) -> Iterator[str]:
    for setting in settings:
        if setting["neighbours"]:
            yield f"{setting['neighbours']} neighbours had {setting['neighbours_cores']:.2f} cores' time"


def _against_peers(found: Found) -> Iterator[str]:
    """Each device beside the engine alone, and the fastest of ours beside the fastest of them, medians."""
    kinds = {device: f"{device} to its engine" for device in _RIVALS}
    yield f"| setting | {' | '.join(kinds.values())} | fastest to fastest peer |"
    yield "|---|" + "---:|" * (len(kinds) + 1)
    for setting in found["settings"]:
        ours = _of(setting, "default")
        cells = []
        for device, names in _RIVALS.items():
            rivals = [e["median"] for e in setting["entries"] if e["name"] in names]
            mine = [e["median"] for e in ours if e["device"] == device]
            cells.append(f"{min(rivals) / mine[0]:.2f}" if rivals and mine else "–")
        fastest = min(e["median"] for e in _of(setting, "peer")) / min(e["median"] for e in ours)
        yield f"| {_setting(setting)} | {' | '.join(cells)} | {fastest:.2f} |"


def _against_options(found: Found) -> Iterator[str]:
    """How much longer than with the best options each device takes with its own."""
    for device in _RIVALS:
        worst: tuple[float, str, str] | None = None
        for setting in found["settings"]:
            mine = [e for e in _of(setting, "default") if e["device"] == device]
            others = [e for e in _of(setting, "option") if e["device"] == device]
            if mine and others:
                best = min(others, key=lambda e: e["median"])
                told = (mine[0]["median"] / best["median"], best["name"], _setting(setting))
                worst = max(worst or told, told)
        if worst:
            verdict = "within" if worst[0] <= _WITHIN else "NOT within"
            yield (
                f"- {device}'s defaults take at most {worst[0]:.2f} times as long as the best of the other options "
                f"({worst[1]}; {worst[2]}): {verdict} 10%. {_every_option(found, device)}"
            )


def _every_option(found: Found, device: str) -> str:
    """How far each choice is from the best of its setting, over all settings: no single one need be near it everywhere."""
    beyond: dict[str, list[float]] = {}
    for setting in found["settings"]:
        entries = [e for kind in ("default", "option") for e in _of(setting, kind) if e["device"] == device]
        least = min(e["median"] for e in entries)
        for entry in entries:
            beyond.setdefault(entry["name"].partition(": ")[2] or "the defaults", []).append(entry["median"] / least)
    told = [f"{name} {geometric_mean(times):.2f}, {max(times):.2f}" for name, times in beyond.items()]
    return f"Times the best of a setting, geometric mean and most: {'; '.join(told)}."


def _even(found: Found) -> Iterator[str]:
    """Each of ours beside the most even peer."""
    yield "| setting | ours | p99 − p50 | most even peer | p99 − p50 | ratio |"
    yield "|---|---|---:|---|---:|---:|"
    for setting in found["settings"]:
        peer = min(_of(setting, "peer"), key=lambda e: e["jitter"])
        for one in _of(setting, "default"):
            yield (
                f"| {_setting(setting)} | {one['device']} | {one['jitter']:.2f} | {peer['name']} | {peer['jitter']:.2f} "
                f"| {one['jitter'] / max(peer['jitter'], 1e-3):.2f} |"
            )


def _setting(setting: Entry) -> str:
    models = f", {setting['models']} models" if setting["models"] > 1 else ""
    return f"{setting['resolution']}, {_threads(setting['threads'])}{models}, {setting['neighbours']} neighbours"


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _shown(entry: Entry) -> str:
    return f"**{entry['name']}**" if entry["kind"] == "default" else entry["name"]


def _named(setting: Entry, name: str) -> Entry:
    return next(entry for entry in setting["entries"] if entry["name"] == name)


def _of(setting: Entry, kind: str) -> list[Entry]:
    return [entry for entry in setting["entries"] if entry["kind"] == kind]
