"""The node's parameters: what they mean, what they may be, and which can change while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.lifecycle import LifecycleNode

from ..backends.choice import DEVICES
from ..errors import UsageError
from ..text import first_line
from .mask import MaskSize
from .topics import QOS, TRANSPORTS

_LIVE = ("enable", "opacity", "mask_size", "deadline_ms", "unknown_below", "patience")
_CHOICES = {"device": DEVICES, "qos": QOS, "transport": TRANSPORTS}
_TABLE: tuple[tuple[str, Any, str, tuple[float, float] | None], ...] = (
    ("model", "", "file that fastscnn-export or fastscnn-trt wrote; empty: the weights that ship, exported once", None),
    ("device", "auto", f"what to run on: {', '.join(DEVICES)}", None),
    ("threads", 0, "CPU threads; 0 takes all that the process may use", (0, 1024)),
    ("trust", False, "open a version-compatible engine, too, which brings native code of its own", None),
    ("transport", "raw", "raw: `image`; compressed: `image/compressed` (JPEG, PNG)", None),
    ("qos", "auto", "reliability of the image subscription; auto takes what the publisher offers", None),
    ("autostart", True, "configure and activate without being told to", None),
    ("enable", True, "segment; false lets go of the image topic and keeps the model", None),
    ("mask_size", "input", "input, model, grid (of the logits), cloud (of the topic `cloud`), or HEIGHTxWIDTH", None),
    ("opacity", 0.5, "of the overlay's colours", (0.0, 1.0)),
    ("deadline_ms", 0.0, "milliseconds that a frame may take from its arrival; 0: no deadline", (0.0, 1e6)),
    ("unknown_below", 0.0, "confidence below which a pixel becomes 255, unknown; 0: never", (0.0, 1.0)),
    ("patience", 2.0, "seconds without an image after which that is told", (0.1, 3600.0)),
)


def declare(node: LifecycleNode) -> None:
    """Declare all of them, and refuse wrong values by ROS's own mechanism from now on.

    Raises:
        UsageError: one that was given at the start is wrong.
    """
    node.add_on_set_parameters_callback(lambda changed: _judged(node, changed))
    for name, default, description, limits in _TABLE:
        live = "" if name in _LIVE else ". Read when the node configures"
        about = ParameterDescriptor(name=name, description=description + live, read_only=name == "autostart")
        if limits and isinstance(default, float):
            about.floating_point_range = [FloatingPointRange(from_value=limits[0], to_value=limits[1])]
        elif limits:
            about.integer_range = [IntegerRange(from_value=int(limits[0]), to_value=int(limits[1]), step=1)]
        try:
            node.declare_parameter(name, default, about)
        except Exception as error:  # rclpy's own kinds: a wrong type, a wrong range, or what we refused
            raise UsageError(
                f"parameter {name}: {first_line(error).rstrip('.')}. Expected {description} (default: {default!r})"
            ) from None


def _judged(node: LifecycleNode, changed: Sequence[Any]) -> SetParametersResult:
    """Whether these values can be taken; the reason is our sentence, handed to whoever set them."""
    for parameter in changed:
        name, value = parameter.name, parameter.value
        if name in _CHOICES and value not in _CHOICES[name]:
            return _refused(f"{name} {value!r:.40} is unknown; expected one of {', '.join(_CHOICES[name])}")
        if name == "mask_size":
            try:
                MaskSize.parse(value)
            except UsageError as error:
                return _refused(str(error))
        known = name in {row[0] for row in _TABLE} - set(_LIVE)
        if known and getattr(node, "configured", False) and value != node.get_parameter(name).value:
            return _refused(f"{name} is read when the node configures; clean the node up, set it, and configure again")
    return SetParametersResult(successful=True)


def _refused(reason: str) -> SetParametersResult:
    return SetParametersResult(successful=False, reason=reason)
