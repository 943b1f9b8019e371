"""What a Hopper GPU is expected to do at 1024x2048, held against what one run of the suite measured there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_LABELS = "labels like FP32 ONNX Runtime's"
# Name → unit, bound, whether more is better, and where the value stands in the results.
_GOALS: dict[str, tuple[str, float, bool, Callable[[Mapping[str, Any]], float]]] = {
    "forward + decode": ("frames/s", 3000, True, lambda r: r["cls"]["forward_and_decode_per_second"]),
    "forward against the memory floor": ("times", 3, False, lambda r: r["cls"]["floor_ratio"]),
    "frame to labels against the baseline": ("times as fast", 3, True, lambda r: r["baseline"]["ratio"]),
    "decode": ("of the forward time", 0.05, False, lambda r: r["cls"]["decode_share"]),
    _LABELS: ("of pixels", 0.998, True, lambda r: min(r["correctness cls"]["labels"])),
}


def goals(results: Mapping[str, Any], real_frames: bool) -> list[dict[str, Any]]:
    """Each goal with its value and whether it holds; both null where the step that measures it failed.

    Args:
        real_frames: false for a drawn street, which tells nothing of the goal for labels.
    """
    found = []
    for name, (unit, bound, more, value_of) in _GOALS.items():
        try:
            if name == _LABELS and not real_frames:
                raise KeyError(name)
            value = float(value_of(results))
        except (KeyError, TypeError, ValueError):
            found.append({"name": name, "unit": unit, "bound": bound, "value": None, "holds": None})
            continue
        holds = value >= bound if more else value <= bound
        found.append({"name": name, "unit": unit, "bound": bound, "value": value, "holds": holds})
    return found


def as_text(found: list[dict[str, Any]]) -> str:
    lines = ["", "expected of a Hopper GPU at 1024x2048:"]
    for goal in found:
        words = {True: "holds", False: "DOES NOT HOLD", None: "not measured"}[goal["holds"]]
        value = "–" if goal["value"] is None else f"{goal['value']:,.4g}"
        lines.append(f"{goal['name']:<40}{value:>10} {goal['unit']}, bound {goal['bound']:,g}: {words}")
    return "\n".join(lines)
