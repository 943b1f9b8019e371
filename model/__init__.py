"""The network and the class sets that it is trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .classes import CAMVID, CITYSCAPES, CLASS_SETS, ClassSet
from .street import Street

if TYPE_CHECKING:
    from .network import FastSCNN

__all__ = ["CAMVID", "CITYSCAPES", "CLASS_SETS", "ClassSet", "FastSCNN", "Street"]


def __getattr__(name: str) -> Any:
    if name == "FastSCNN":  # lazily: class sets and the sample street serve robots without torch
        from .network import FastSCNN

        return FastSCNN
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
