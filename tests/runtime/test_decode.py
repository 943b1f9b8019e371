"""The decode against PyTorch's own upsampling: any ratio, ties, extremes."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fastscnn.runtime.decode import Decoder, argmax

GEOMETRIES = [
    ((16, 32), (128, 256)),  # the usual factor of eight
    ((8, 8), (64, 64)),
    ((9, 13), (65, 100)),  # no whole factor on either axis
    ((13, 13), (100, 100)),
    ((10, 10), (75, 73)),
    ((42, 65), (333, 517)),
    ((4, 6), (20, 30)),  # an odd factor: a sample falls on a pixel
    ((5, 5), (5, 5)),
    ((1, 1), (8, 8)),
    ((2, 40), (16, 41)),
    ((11, 20), (4, 7)),  # smaller than the logits
    ((12, 9), (1, 33)),
]
ALIGNED = [*GEOMETRIES, ((9, 17), (65, 129)), ((5, 4), (29, 22))]  # samples on pixels, of a factor of 8 and 7


def logits_of(classes: int, size: tuple[int, int], seed: int = 0, smooth: int = 3) -> np.ndarray:
    """Neighbouring pixels alike, as a network's are, so that cells agree and disagree."""
    noise = torch.from_numpy(np.random.default_rng(seed).standard_normal((1, classes, *size)).astype(np.float32))
    coarse = F.adaptive_avg_pool2d(noise, (max(1, size[0] // smooth), max(1, size[1] // smooth)))
    return (F.interpolate(coarse, size, mode="bilinear") * 10)[0].numpy()


def upsampled(logits: np.ndarray, size: tuple[int, int], align_corners: bool = False) -> torch.Tensor:
    exact = torch.from_numpy(logits.astype(np.float64))[None]
    return F.interpolate(exact, size, mode="bilinear", align_corners=align_corners)[0]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("classes", [2, 19])
@pytest.mark.parametrize(("low", "full"), GEOMETRIES)
def test_labels_are_the_argmax_of_the_upsampled_logits(
    low: tuple[int, int], full: tuple[int, int], classes: int, threads: int
) -> None:
    logits = logits_of(classes, low)
    found = Decoder(low, full, threads).labels(logits)
    assert found.shape == full
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    expected = upsampled(logits, full)
    best = expected.topk(2, dim=0).values
    tied = (best[0] - best[1]).numpy() < 1e-5
    assert np.array_equal(found[~tied], expected.argmax(dim=0).numpy()[~tied])
    assert tied.mean() < 0.01


@pytest.mark.parametrize(("low", "full"), GEOMETRIES)
def test_noise_in_which_no_cell_agrees(low: tuple[int, int], full: tuple[int, int]) -> None:
    logits = logits_of(255, low, seed=2, smooth=1)
    expected = upsampled(logits, full)
    best = expected.topk(2, dim=0).values
    clear = (best[0] - best[1]).numpy() > 1e-4
    assert np.array_equal(Decoder(low, full, 2).labels(logits)[clear], expected.argmax(dim=0).numpy()[clear])


@pytest.mark.parametrize(("low", "full"), GEOMETRIES)
def test_probabilities_are_the_softmax_of_the_upsampled_logits(low: tuple[int, int], full: tuple[int, int]) -> None:
    logits = logits_of(19, low)
    found = Decoder(low, full, 2).probabilities(logits)
    assert found.dtype == np.float32
    assert np.abs(found - upsampled(logits, full).softmax(dim=0).numpy()).max() < 2e-6
    assert np.abs(found.sum(axis=0) - 1).max() < 1e-5


@pytest.mark.parametrize(("low", "full"), ALIGNED)
def test_corners_on_corners_as_pytorch_aligns_them(low: tuple[int, int], full: tuple[int, int]) -> None:
    logits = logits_of(19, low)
    decoder = Decoder(low, full, 2, align_corners=True)
    expected = upsampled(logits, full, align_corners=True)
    best = expected.topk(2, dim=0).values
    tied = (best[0] - best[1]).numpy() < 1e-5
    assert np.array_equal(decoder.labels(logits)[~tied], expected.argmax(dim=0).numpy()[~tied])
    assert tied.mean() < 0.01
    found = decoder.probabilities(logits)
    assert np.abs(found - expected.softmax(dim=0).numpy()).max() < 2e-6
    assert np.abs(found.sum(axis=0) - 1).max() < 1e-5


def test_opposite_certainties_do_not_vanish() -> None:
    """Half way between two pixels 400 apart every shifted exponential would be zero, and the sum's reciprocal infinite."""
    logits = np.zeros((2, 8, 8), np.float32)
    logits[0, :, ::2], logits[1, :, 1::2] = 400, 400
    found = Decoder((8, 8), (64, 64)).probabilities(logits)
    assert np.all(np.isfinite(found))
    assert np.abs(found - upsampled(logits, (64, 64)).softmax(dim=0).numpy()).max() < 1e-5


def test_the_lower_class_wins_a_tie() -> None:
    assert not Decoder((8, 8), (64, 64)).labels(np.ones((5, 8, 8), np.float32)).any()
    values = np.array([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]], np.float32)
    assert argmax(values).tolist() == [1, 0]


def test_half_precision_and_strided_logits_give_the_same() -> None:
    logits = logits_of(19, (16, 32)).astype(np.float16)
    decoder = Decoder((16, 32), (128, 256))
    expected = decoder.labels(logits.astype(np.float32))
    assert np.array_equal(decoder.labels(logits), expected)
    assert np.array_equal(decoder.labels(np.asfortranarray(logits.astype(np.float32))), expected)


def test_a_closed_decoder_still_answers() -> None:
    logits = logits_of(19, (16, 32), smooth=1)
    decoder = Decoder((16, 32), (128, 256), threads=2)
    expected = decoder.labels(logits)
    decoder.close()
    decoder.close()
    assert np.array_equal(decoder.labels(logits), expected)
