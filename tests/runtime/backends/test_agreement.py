"""The gate of reduced precision: what is a tie, and what is another label."""

import numpy as np
import pytest
import reference

from fastscnn.runtime.backends import agreement
from fastscnn.runtime.decode.decoder import Decoder, upsampled

LOW, FULL = (13, 20), (101, 163)


def smooth(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).normal(size=(7, 4, 5))
    return reference.upsampled(coarse, LOW).astype(np.float32)


@pytest.mark.parametrize("align_corners", [False, True])
def test_upsampling_is_that_of_pytorch(align_corners: bool) -> None:
    plane = smooth(0)[0]
    (expected,) = reference.upsampled(plane[None], FULL, align_corners)
    assert np.abs(upsampled(plane, FULL, align_corners) - expected).max() < 1e-5


@pytest.mark.parametrize("align_corners", [False, True])
def test_a_small_error_changes_ties_only(align_corners: bool) -> None:
    decoder = Decoder(LOW, FULL, align_corners=align_corners)
    changed = wrongly_clear = 0
    for seed in range(8):
        logits = smooth(seed)
        noise = np.random.default_rng(seed).uniform(-2e-3, 2e-3, logits.shape).astype(np.float32) * np.ptp(logits)
        differing = decoder.labels(logits) != decoder.labels(logits + noise)
        changed += int(differing.sum())
        assert not np.any(differing & agreement.clear(logits, FULL, agreement.REDUCED, align_corners))
        wrongly_clear += int(np.sum(differing & agreement.clear(logits, FULL, agreement.REDUCED, not align_corners)))
    assert changed > 100
    assert wrongly_clear > 0, "else the corners would not matter, and this test not either"


def test_another_label_is_no_tie() -> None:
    logits = smooth(1)
    assert agreement.clear(logits, FULL, agreement.REDUCED).mean() > 0.8
    assert not agreement.clear(np.zeros_like(logits), FULL, agreement.REDUCED).any()
