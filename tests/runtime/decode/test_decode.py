"""The decode against PyTorch's own upsampling: any ratio, ties, extremes; compiled and in NumPy."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest
from reference import best_two, logits_of, sigmoid, softmax, upsampled

from fastscnn.runtime.decode import in_numpy, native
from fastscnn.runtime.decode.decoder import Decoder, argmax

ARM = platform.machine() == "aarch64"  # whose regions part from the whole map by up to 6.5e-6; the contract is 1e-5
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


@pytest.fixture(params=["native", "numpy"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "native" and (why := native.found()[1]):
        pytest.skip(why)
    monkeypatch.setenv(native.CHOICE, request.param)


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
    best = best_two(expected)
    tied = (best[0] - best[1]) < 1e-5
    assert np.array_equal(found[~tied], expected.argmax(axis=0)[~tied])
    assert tied.mean() < 0.01


@pytest.mark.parametrize(("low", "full"), GEOMETRIES)
def test_noise_in_which_no_cell_agrees(low: tuple[int, int], full: tuple[int, int]) -> None:
    logits = logits_of(255, low, seed=2, smooth=1)
    expected = upsampled(logits, full)
    best = best_two(expected)
    clear = (best[0] - best[1]) > 1e-4
    assert np.array_equal(Decoder(low, full, 2).labels(logits)[clear], expected.argmax(axis=0)[clear])


@pytest.mark.parametrize(("low", "full"), GEOMETRIES)
def test_probabilities_are_the_softmax_of_the_upsampled_logits(low: tuple[int, int], full: tuple[int, int]) -> None:
    logits = logits_of(19, low)
    found = Decoder(low, full, 2).probabilities(logits)
    assert found.dtype == np.float32
    assert np.abs(found - softmax(upsampled(logits, full))).max() < 2e-6
    assert np.abs(found.sum(axis=0) - 1).max() < 1e-5


@pytest.mark.parametrize(("low", "full"), ALIGNED)
def test_corners_on_corners_as_pytorch_aligns_them(low: tuple[int, int], full: tuple[int, int]) -> None:
    logits = logits_of(19, low)
    decoder = Decoder(low, full, 2, align_corners=True)
    expected = upsampled(logits, full, align_corners=True)
    best = best_two(expected)
    tied = (best[0] - best[1]) < 1e-5
    assert np.array_equal(decoder.labels(logits)[~tied], expected.argmax(axis=0)[~tied])
    assert tied.mean() < 0.01
    found = decoder.probabilities(logits)
    assert np.abs(found - softmax(expected)).max() < 2e-6
    assert np.abs(found.sum(axis=0) - 1).max() < 1e-5


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("low", "full"), [((16, 32), (128, 256)), ((9, 13), (65, 100)), ((1, 1), (8, 8))])
def test_sigmoid_of_each_class_by_itself(low: tuple[int, int], full: tuple[int, int], align_corners: bool) -> None:
    logits = logits_of(19, low) * 3
    found = Decoder(low, full, 2, align_corners=align_corners, probability="sigmoid").probabilities(logits)
    assert found.dtype == np.float32
    assert np.abs(found - sigmoid(upsampled(logits, full, align_corners))).max() < 2e-6


def test_sigmoids_of_extreme_logits_are_zero_and_one() -> None:
    logits = np.zeros((3, 8, 8), np.float32)
    logits[0], logits[1] = -500, 500
    found = Decoder((8, 8), (64, 64), probability="sigmoid").probabilities(logits)
    assert (found[0].max(), found[1].min(), found[2].min(), found[2].max()) == (0, 1, 0.5, 0.5)


def test_opposite_certainties_do_not_vanish() -> None:
    """Half way between two pixels 400 apart every shifted exponential would be zero, and the sum's reciprocal infinite."""
    logits = np.zeros((2, 8, 8), np.float32)
    logits[0, :, ::2], logits[1, :, 1::2] = 400, 400
    found = Decoder((8, 8), (64, 64)).probabilities(logits)
    assert np.all(np.isfinite(found))
    assert np.abs(found - softmax(upsampled(logits, (64, 64)))).max() < 1e-5


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


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("threads", [2, 5, 64])
def test_any_number_of_threads_gives_the_same(threads: int, align_corners: bool) -> None:
    logits = logits_of(19, (13, 20), smooth=1)
    one, many = (Decoder((13, 20), (101, 160), n, align_corners=align_corners) for n in (1, threads))
    assert np.array_equal(many.labels(logits), one.labels(logits))
    assert np.array_equal(many.probabilities(logits), one.probabilities(logits))


def test_more_mixed_cells_than_are_settled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = logits_of(5, (40, 9), smooth=1)
    expected = Decoder((40, 9), (320, 72)).labels(logits)
    monkeypatch.setattr(in_numpy, "_CELLS_AT_ONCE", 7)
    assert np.array_equal(Decoder((40, 9), (320, 72)).labels(logits), expected)


def test_a_third_class_wins_inside_a_cell_at_whose_corners_it_loses() -> None:
    """Each corner has its own winner, and a class that is second everywhere wins in the middle."""
    logits = np.zeros((5, 2, 2), np.float32)
    for index, (y, x) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        logits[index, y, x] = 10
    logits[4] = 6
    found = Decoder((2, 2), (16, 16)).labels(logits)
    expected = upsampled(logits, (16, 16)).argmax(axis=0)
    assert set(np.unique(expected)) == {0, 1, 2, 3, 4}
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("probability", ["softmax", "sigmoid"])
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("low", "full"), ALIGNED)
def test_a_region_is_a_part_of_the_whole_map(
    low: tuple[int, int], full: tuple[int, int], align_corners: bool, probability: str
) -> None:
    logits = logits_of(7, low) * 4
    decoder = Decoder(low, full, align_corners=align_corners, probability=probability)
    whole = decoder.probabilities(logits)
    middle = full[0] // 2, full[1] // 2
    for rows, columns in [
        (slice(0, full[0]), slice(0, full[1])),
        (slice(middle[0], middle[0] + 1), slice(middle[1], middle[1] + 1)),
        (slice(0, middle[0] + 1), slice(middle[1], full[1])),
    ]:
        found = decoder.region(logits, rows, columns)
        assert (found.shape, found.dtype) == (whole[:, rows, columns].shape, np.float32)
        assert np.abs(found - whole[:, rows, columns]).max() < (1e-5 if ARM else 4e-6)


def chances_of(logits: np.ndarray, size: tuple[int, int], align_corners: bool, probability: str) -> np.ndarray:
    exact = upsampled(logits, size, align_corners)
    return (sigmoid if probability == "sigmoid" else softmax)(exact)


@pytest.mark.parametrize("probability", ["softmax", "sigmoid"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_confidence_is_the_best_probability_at_each_sample(probability: str, dtype: type) -> None:
    logits = logits_of(19, (16, 32)).astype(dtype)
    decoder = Decoder((16, 32), (128, 256), probability=probability)
    expected = chances_of(logits, (16, 32), False, probability).max(axis=0)
    assert np.abs(decoder.certainty(logits) - expected).max() < 1e-6
    found = decoder.confidence(logits)
    assert found.dtype == np.uint8
    assert np.abs(found - 255 * expected).max() <= 0.5 + 1e-3
    assert len(np.unique(found)) > 20


@pytest.mark.parametrize("scale", [0.3, 1.0, 10.0])  # hardly a pixel is sure, some are, most are
@pytest.mark.parametrize("probability", ["softmax", "sigmoid"])
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("low", "full"), [place for place in ALIGNED if place[1][1] < 150])
def test_labels_are_unknown_where_no_probability_reaches_the_bound(
    low: tuple[int, int], full: tuple[int, int], align_corners: bool, probability: str, scale: float
) -> None:
    """Pixel by pixel the soft-max of the upsampled logits, also in cells whose corners agree or are all sure."""
    for classes, smooth in ((2, 3), (19, 1)):
        logits = logits_of(classes, low, smooth=smooth) * np.float32(scale)
        decoder = Decoder(low, full, align_corners=align_corners, probability=probability)
        plain = decoder.labels(logits)
        best = chances_of(logits, full, align_corners, probability).max(axis=0)
        for below in (0.2, 0.7, 1.0):
            found = decoder.labels(logits, below)
            clear = np.abs(best - below) > 1e-5
            assert np.array_equal((found == 255)[clear], (best < below)[clear])
            assert np.array_equal(found[found != 255], plain[found != 255])
    assert np.array_equal(decoder.labels(logits, 0.0), plain)


def test_unknown_between_samples_that_are_sure_of_different_classes() -> None:
    logits = np.zeros((2, 4, 4), np.float32)
    logits[0, :, :2], logits[1, :, 2:] = 60, 60
    found = Decoder((4, 4), (32, 32)).labels(logits, 0.9)
    assert np.unique(found[0]).tolist() == [0, 1], "the middle of the cell lies between two pixels"
    found = Decoder((4, 4), (36, 36)).labels(logits, 0.9)
    assert np.flatnonzero(found[0] == 255).tolist() == []
    found = Decoder((4, 4), (4, 5), align_corners=True).labels(logits, 0.9)
    assert found[0].tolist() == [0, 0, 255, 1, 1], "half way no class has more than half"


def test_nothing_spins_when_the_decode_has_ended() -> None:
    """A BLAS whose threads wait for more to do takes a core from the next frame's network for tens of milliseconds."""
    code = (
        "import time\n"
        "import numpy as np\n"
        "from fastscnn.runtime.decode.decoder import Decoder\n"
        "decoder = Decoder((128, 256), (1024, 2048))\n"
        "logits = np.random.default_rng(0).normal(size=(11, 128, 256)).astype(np.float32)\n"
        "spent = []\n"
        "for _ in range(6):\n"
        "    decoder.labels(logits)\n"
        "    before = time.process_time()\n"
        "    time.sleep(0.05)\n"
        "    spent.append(time.process_time() - before)\n"
        "print(min(spent[1:]))\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"} | {"OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.005
