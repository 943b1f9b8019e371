"""A recipe fitted to the pictures of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ..variant import MINIMUM_SIDE

_STEPS = 600  # of a training of a small set
_EPOCHS = (20, 300)
_BATCH = 8
_CROP = (768, 1024)  # at most, height and width: what fits a step on one small GPU
_MANY = 200  # pictures, from which processes of their own load them


def fitted(pictures: int, sizes: Mapping[str, int]) -> str:
    """YAML of a recipe.

    Args:
        pictures: to train on.
        sizes: how many pictures there are of each size, by HEIGHTxWIDTH.
    """
    height, width = (int(side) for side in Counter(sizes).most_common(1)[0][0].split("x"))
    crop = [max(MINIMUM_SIDE, min(side, most)) for side, most in zip((height, width), _CROP, strict=True)]
    batch = max(2, min(_BATCH, pictures // 2))
    epochs = min(max(_STEPS // max(1, pictures // batch), _EPOCHS[0]), _EPOCHS[1])
    return f"""# Fitted to {pictures} pictures of {height}x{width} by fastscnn-data; every field can also follow the command as key=value.
# Lying in a data set, it means that data set. fastscnn-train THIS FILE
epochs: {epochs}
batch: {batch}
optimizer: adamw
learning_rate: 0.0025
warmup: {min(2, epochs - 1)}
weight_decay: 0.05
ema: 0.99
class_weights: 0.25  # rare classes count more
lovasz: 0.5
balance: true
crop: {crop}
scales: [0.75, 1.5]
brightness: 0.3
contrast: 0.3
channel_noise: 0.1
workers: {4 if pictures >= _MANY else 0}
evaluate_every: {max(1, epochs // 10)}
# Thin things vanish at an eighth of the size. To show the network everything at twice its size, at four times the cost:
# resolution: {[2 * height, 2 * width]}
# The weights that ship help in the first ten epochs and not at the end. They are for research only, and what is trained from
# them, too:
# weights: shipped
"""
