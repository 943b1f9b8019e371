"""The kernels' source text: what a compiler is given, what it makes, and which version it is."""

from __future__ import annotations

import hashlib
from pathlib import Path

FOLDER = Path(__file__).parent
MAIN = "kernels.cu"  # includes all others

# What a compiled module holds, by the names that a driver finds them under.
ENTRY_POINTS = (
    "fastscnn_frame_u8",
    "fastscnn_frame_f32",
    "fastscnn_frame_f16",
    "fastscnn_packed_u8",
    "fastscnn_packed_f32",
    "fastscnn_packed_f16",
    "fastscnn_yuv_u8",
    "fastscnn_yuv_f32",
    "fastscnn_yuv_f16",
    "fastscnn_winners_f32",
    "fastscnn_winners_f16",
    "fastscnn_labels_f32",
    "fastscnn_labels_f16",
    "fastscnn_confidence_softmax_f32",
    "fastscnn_confidence_softmax_f16",
    "fastscnn_confidence_sigmoid_f32",
    "fastscnn_confidence_sigmoid_f16",
    "fastscnn_known_softmax_f32",
    "fastscnn_known_softmax_f16",
    "fastscnn_known_sigmoid_f32",
    "fastscnn_known_sigmoid_f16",
    "fastscnn_softmax_f32_f32",
    "fastscnn_softmax_f32_f16",
    "fastscnn_softmax_f16_f32",
    "fastscnn_softmax_f16_f16",
    "fastscnn_sigmoid_f32_f32",
    "fastscnn_sigmoid_f32_f16",
    "fastscnn_sigmoid_f16_f32",
    "fastscnn_sigmoid_f16_f16",
)


def texts() -> dict[str, str]:
    """File name → text of every source file, in the order of their names."""
    paths = sorted((*FOLDER.glob("*.cu"), *FOLDER.glob("*.cuh")))
    return {path.name: path.read_text(encoding="utf-8") for path in paths}


def digest() -> str:
    """sha256 over names and texts; another digest means another module, to be compiled again."""
    total = hashlib.sha256()
    for name, text in texts().items():
        for part in (name, text):
            data = part.encode()
            total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()
