"""The CUDA kernels, compiled as plain C++ and run thread by thread, against NumPy, OpenCV, PyTorch and the CPU's decode."""

import ctypes
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from reference import best_two, logits_of, sigmoid, softmax, upsampled

from fastscnn.runtime import Segmenter, UsageError
from fastscnn.runtime.artifacts import onnx_file
from fastscnn.runtime.artifacts.artifact import PROBABILITIES
from fastscnn.runtime.decode import kernels
from fastscnn.runtime.decode.decoder import Decoder
from fastscnn.runtime.decode.kernels import Launch
from fastscnn.runtime.frame import InputLayout, fitted
from fastscnn.runtime.pixels import pixel_format

Run = Callable[..., None]
TYPES = {"fp32": np.float32, "fp16": np.float16}
TOLERANCES = {"fp32": 1e-6, "fp16": 1e-6 + 2.0**-12}  # of probabilities; below 1 half precision rounds by up to 2^-12
ULP = 2.0**-23

GEOMETRIES = [
    ((16, 32), (128, 256)),  # the usual factor of eight
    ((8, 8), (64, 64)),
    ((9, 13), (65, 101)),  # no whole factor, rows that begin at every address modulo 16
    ((21, 33), (167, 261)),
    ((4, 6), (20, 30)),
    ((5, 21), (5, 21)),
    ((1, 1), (8, 9)),
    ((2, 40), (16, 41)),
    ((11, 70), (4, 23)),  # smaller than the logits
    ((12, 9), (1, 33)),
    ((9, 17), (65, 129)),  # a factor of eight with corners on corners
    # Planes of whole fours, rows of none: vector stores beside rows' ends. The last row that begins at 15 modulo 16 takes
    # nine groups of 16 labels, where eight fill a block.
    ((5, 15), (34, 114)),
]
RESIZES = [
    ((64, 96), (64, 96)),
    ((96, 128), (64, 96)),
    ((72, 128), (51, 102)),
    ((108, 192), (102, 205)),
    ((33, 47), (150, 133)),
    ((128, 200), (64, 100)),  # by half, where OpenCV averages
    ((101, 67), (64, 97)),
    ((200, 150), (31, 7)),
    ((1, 5), (64, 66)),
]


@pytest.fixture(scope="module")
def library(kernels_library: ctypes.CDLL) -> ctypes.CDLL:
    return kernels_library


@pytest.fixture(scope="module")
def run(library: ctypes.CDLL) -> Run:
    """Launch a kernel as a driver does: pointers to the arguments, by name. Once backwards, then forwards: a stray write that
    its rightful writer would mend in one order remains in the other. The last array is the one that is written."""

    def launch(launch: Launch, *arrays: np.ndarray) -> None:
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in arrays]
        numbers = [np.ctypeslib.as_ctypes(np.atleast_1d(number)) for number in launch.numbers]
        arguments = [ctypes.cast(ctypes.byref(each), ctypes.c_void_p) for each in (*pointers, *numbers)]
        grid, block = (ctypes.c_uint * 3)(*launch.grid), (ctypes.c_uint * 3)(*launch.block)
        out, results = arrays[-1], []
        before = out.copy()
        for backwards in (1, 0):
            out[...] = before
            packed = (ctypes.c_void_p * len(arguments))(*arguments)
            assert library.launch(launch.entry.encode(), grid, block, backwards, packed)
            results.append(out.tobytes())
        assert results[0] == results[1], f"{launch.entry}: threads write over each other's work"

    return launch


def guarded(shape: tuple[int, ...], dtype: type, shift: int = 0) -> tuple[np.ndarray, Callable[[], bool]]:
    """An array in the middle of a larger one, `shift` elements off alignment, and whether its surroundings are untouched."""
    size = int(np.prod(shape))
    around = np.full(size + 256 + 64, 77, dtype)
    start = 128 + (-around.ctypes.data // around.itemsize - 128) % 64 + shift
    inside = slice(start, start + size)
    return around[inside].reshape(shape), lambda: bool(
        np.all(around[: inside.start] == 77) and np.all(around[inside.stop :] == 77)
    )


def decoded(run: Run, logits: np.ndarray, size: tuple[int, int], align_corners: bool, shift: int = 0) -> np.ndarray:
    """(C, h, w) → (H, W), both passes, with nothing written beside the result."""
    precision = "fp16" if logits.dtype == np.float16 else "fp32"
    classes, low = len(logits), logits.shape[1:]
    winners, untouched = guarded(low, np.uint8)
    run(kernels.winners(classes, low, precision=precision), logits, winners)
    assert untouched()
    labels, untouched = guarded(size, np.uint8, shift)
    run(kernels.labels(classes, low, size, precision=precision, align_corners=align_corners), logits, winners, labels)
    assert untouched()
    return labels


def assert_labels(found: np.ndarray, logits: np.ndarray, align_corners: bool, most_ties: float) -> None:
    """As the CPU decodes and PyTorch upsamples, but where the two best classes tie within the rounding of float32."""
    exact = upsampled(logits, found.shape, align_corners)
    best = best_two(exact)
    tied = (best[0] - best[1]) <= 4 * ULP * float(np.abs(logits).max())
    assert tied.mean() <= most_ties, "too many ties to prove anything"
    assert np.array_equal(found[~tied], exact.argmax(axis=0)[~tied])
    cpu = Decoder(logits.shape[1:], found.shape, align_corners=align_corners).labels(logits)
    assert np.array_equal(found[~tied], cpu[~tied])


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("precision", TYPES)
@pytest.mark.parametrize(("low", "full"), GEOMETRIES)
def test_labels(run: Run, low: tuple[int, int], full: tuple[int, int], precision: str, align_corners: bool) -> None:
    for shift, classes, smooth in ((0, 2, 3), (5, 19, 3), (12, 19, 1)):  # smooth=1: hardly a cell whose corners agree
        logits = logits_of(classes, low, shift, smooth).astype(TYPES[precision])
        found = decoded(run, logits, full, align_corners, shift)
        assert_labels(found, logits, align_corners, most_ties=0.01 if precision == "fp16" else 0.001)


@pytest.mark.parametrize("precision", TYPES)
def test_labels_of_the_most_classes(run: Run, precision: str) -> None:
    logits = logits_of(255, (9, 13), seed=1, smooth=1).astype(TYPES[precision])
    found = decoded(run, logits, (65, 101), False)
    assert found.max() > 250
    assert_labels(found, logits, False, most_ties=0.01 if precision == "fp16" else 0.001)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("precision", TYPES)
def test_labels_of_a_street_from_the_network(
    run: Run, exported: Callable[..., Path], frames: list[np.ndarray], precision: str, align_corners: bool
) -> None:
    with Segmenter(exported("logits", precision=precision)) as segmenter:
        batch = [segmenter(frame).logits for frame in frames]
    for logits in batch:
        assert logits is not None
        assert logits.dtype == TYPES[precision]
        found = decoded(run, logits, frames[0].shape[:2], align_corners)
        assert len(np.unique(found)) > 1
        assert_labels(found, logits, align_corners, most_ties=0.001)


def test_a_batch_is_its_frames(run: Run) -> None:
    low, full = (9, 13), (65, 101)
    logits = np.stack([logits_of(19, low, seed) for seed in range(3)])
    winners, labels = np.zeros((3, *low), np.uint8), np.zeros((3, *full), np.uint8)
    run(kernels.winners(19, low, precision="fp32", batch=3), logits, winners)
    run(kernels.labels(19, low, full, precision="fp32", batch=3), logits, winners, labels)
    chances = np.zeros((3, 19, *full), np.float32)
    run(kernels.probabilities(19, low, full, precision="fp32", batch=3), logits, chances)
    for each, found, chance in zip(logits, labels, chances, strict=True):
        assert np.array_equal(found, decoded(run, each, full, False))
        assert np.abs(chance - softmax(upsampled(each, full, False))).max() < 1e-6


def test_the_lowest_class_wins_a_tie(run: Run) -> None:
    """Equal logits everywhere, and two classes that tie along one side of every cell."""
    assert not decoded(run, np.ones((5, 8, 8), np.float32), (64, 64), False).any()
    logits = np.zeros((4, 2, 2), np.float16)
    logits[1] = logits[3] = [[1, 0], [1, 0]]
    logits[2] = [[0, 1], [0, 1]]
    found = decoded(run, logits, (2, 5), True)
    assert found.tolist() == [[1, 1, 1, 2, 2]] * 2, "half way classes 1, 2 and 3 tie, elsewhere 1 and 3 do"


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("probability", PROBABILITIES)
@pytest.mark.parametrize("result", TYPES)
@pytest.mark.parametrize("precision", TYPES)
@pytest.mark.parametrize(("low", "full"), GEOMETRIES)
def test_probabilities(
    run: Run,
    low: tuple[int, int],
    full: tuple[int, int],
    precision: str,
    result: str,
    probability: str,
    align_corners: bool,
) -> None:
    for shift, classes in ((2, 2), (0, 7)):
        logits = logits_of(classes, low, seed=classes).astype(TYPES[precision])
        found, untouched = guarded((classes, *full), TYPES[result], shift)
        options = {"precision": precision, "result": result, "probability": probability, "align_corners": align_corners}
        run(kernels.probabilities(classes, low, full, **options), logits, found)
        assert untouched()
        exact = upsampled(logits, full, align_corners)
        expected = softmax(exact) if probability == "softmax" else sigmoid(exact)
        assert np.abs(found - expected).max() < TOLERANCES[result]


@pytest.mark.parametrize("probability", PROBABILITIES)
def test_probabilities_of_a_street_are_those_of_the_cpu(
    run: Run, exported: Callable[..., Path], frames: list[np.ndarray], probability: str
) -> None:
    with Segmenter(exported("logits", probability=probability)) as segmenter:
        artifact, logits = segmenter.artifact, segmenter(frames[0]).logits
    assert logits is not None
    size = frames[0].shape[:2]
    found = np.zeros((len(logits), *size), np.float32)
    options = {"precision": "fp32", "probability": artifact.probability, "align_corners": artifact.align_corners}
    run(kernels.probabilities(len(logits), logits.shape[1:], size, **options), logits, found)
    assert np.abs(found - Decoder.of(artifact).probabilities(logits)).max() < 2e-6


@pytest.mark.parametrize("offset", [-300, 0, 300])
def test_certainty_and_what_all_classes_share_do_not_overflow(run: Run, offset: float) -> None:
    """Exponentials of such logits are infinite, or all zero, unless each sample's own peak is subtracted first."""
    logits = logits_of(19, (9, 13), seed=4) * 20 + np.float32(offset)
    assert np.ptp(logits, axis=0).max() > 100
    found = np.zeros((19, 65, 101), np.float32)
    run(kernels.probabilities(19, (9, 13), (65, 101), precision="fp32"), logits, found)
    assert np.abs(found - softmax(upsampled(logits, (65, 101), False))).max() < 2e-4


@pytest.mark.parametrize("precision", TYPES)
def test_sigmoids_of_extreme_logits_are_zero_and_one(run: Run, precision: str) -> None:
    logits = np.zeros((3, 8, 8), TYPES[precision])
    logits[0], logits[1] = -65504, 65504  # the most that half precision holds
    found = np.full((3, 64, 64), 77, np.float16)
    options = {"precision": precision, "result": "fp16", "probability": "sigmoid"}
    run(kernels.probabilities(3, (8, 8), (64, 64), **options), logits, found)
    assert [np.unique(each).tolist() for each in found] == [[0], [1], [0.5]]


def test_opposite_certainties_do_not_vanish(run: Run) -> None:
    """Half way between samples 400 apart every shifted exponential is zero, and the sum's reciprocal infinite."""
    logits = np.zeros((2, 8, 8), np.float32)
    logits[0, :, ::2], logits[1, :, 1::2] = 400, 400
    found = np.zeros((2, 64, 64), np.float32)
    run(kernels.probabilities(2, (8, 8), (64, 64), precision="fp32"), logits, found)
    assert np.abs(found - softmax(upsampled(logits, (64, 64), False))).max() < 1e-5


@pytest.mark.parametrize("pad", [0, 5])
@pytest.mark.parametrize(("source", "size"), RESIZES)
def test_frames_are_resized_as_on_the_cpu(run: Run, source: tuple[int, int], size: tuple[int, int], pad: int) -> None:
    """Level for level OpenCV's result; `pad` bytes lie between the rows."""
    rows = np.random.default_rng(1).integers(0, 256, (source[0], 3 * source[1] + pad), dtype=np.uint8)
    frame = np.ascontiguousarray(rows[:, : 3 * source[1]].reshape(*source, 3))
    found, untouched = guarded((*size, 3), np.uint8, shift=pad)
    run(kernels.frame(source, size, pitch=rows.shape[1]), rows, found)
    assert untouched()
    assert np.array_equal(found, fitted(frame, *size))


@pytest.mark.parametrize("precision", TYPES)
@pytest.mark.parametrize(("source", "size"), RESIZES)
def test_frames_are_normalised_as_on_the_cpu(
    run: Run, exported: Callable[..., Path], source: tuple[int, int], size: tuple[int, int], precision: str
) -> None:
    path = exported("cls", input="float")
    artifact = onnx_file.artifact(onnx_file.read(path), path.name)
    frame = np.random.default_rng(2).integers(0, 256, (*source, 3), dtype=np.uint8)
    found, untouched = guarded((3, *size), TYPES[precision], shift=1)
    options = {"precision": precision, "mean": artifact.mean, "std": artifact.std}
    run(kernels.frame(source, size, **options), frame, found)
    assert untouched()
    expected = InputLayout(artifact)([fitted(frame, *size)])[0]
    assert np.abs(found - expected).max() < (1e-6 if precision == "fp32" else 1.1e-3)


def bytes_of(form: str, size: tuple[int, int], pad: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Random bytes of a frame in a format, with `pad` bytes between the rows, and the frame in them."""
    one = pixel_format(form)
    rows = size[0] * 3 // 2 if one.planar else size[0]
    data = np.random.default_rng(seed).integers(0, 256, (rows, size[1] * one.channels + pad), dtype=np.uint8)
    return data, one.view(data, *size, data.shape[1])


@pytest.mark.parametrize("form", kernels.FORMS)
@pytest.mark.parametrize("pad", [0, 6])
@pytest.mark.parametrize(("source", "size"), [((64, 96), (64, 96)), ((96, 128), (64, 96)), ((34, 46), (150, 133))])
def test_frames_of_other_formats_are_converted_as_on_the_cpu(
    run: Run, form: str, source: tuple[int, int], size: tuple[int, int], pad: int
) -> None:
    """Level for level what OpenCV converts and then resizes, of any bytes."""
    if form == "i420" and pad:
        pytest.skip("I420 has its colour rows beside each other, which no array with padded rows shows")
    data, frame = bytes_of(form, source, pad)
    found, untouched = guarded((*size, 3), np.uint8, shift=pad)
    run(kernels.frame(source, size, form=form, pitch=data.shape[1]), data, found)
    assert untouched()
    assert np.array_equal(found, fitted(pixel_format(form).to_bgr(frame), *size))


@pytest.mark.parametrize("form", kernels.FORMS)
@pytest.mark.parametrize("precision", TYPES)
def test_frames_of_other_formats_are_normalised(
    run: Run, exported: Callable[..., Path], form: str, precision: str
) -> None:
    path = exported("cls", input="float")
    artifact = onnx_file.artifact(onnx_file.read(path), path.name)
    data, frame = bytes_of(form, (34, 46), 0)
    found, untouched = guarded((3, 64, 96), TYPES[precision], shift=1)
    options = {"precision": precision, "mean": artifact.mean, "std": artifact.std}
    run(kernels.frame((34, 46), (64, 96), form=form, **options), data, found)
    assert untouched()
    expected = InputLayout(artifact)([fitted(pixel_format(form).to_bgr(frame), 64, 96)])[0]
    assert np.abs(found - expected).max() < (1e-6 if precision == "fp32" else 1.1e-3)


def test_every_yuv_colour_converts_as_on_the_cpu(run: Run) -> None:
    """All 16 million, eight levels of brightness apart."""
    u, v = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    pairs = np.empty((256, 512, 2), np.uint8)
    pairs[:, ::2, 1], pairs[:, 1::2, 1] = u, v
    found = np.empty((256, 512, 3), np.uint8)
    for level in range(0, 256, 8):
        pairs[:, ::2, 0], pairs[:, 1::2, 0] = level, level + 7
        run(kernels.frame((256, 512), (256, 512), form="yuyv"), pairs, found)
        assert np.array_equal(found, pixel_format("yuyv").to_bgr(pairs))


@pytest.mark.parametrize("probability", PROBABILITIES)
@pytest.mark.parametrize("precision", TYPES)
def test_confidence_is_that_of_the_cpu(run: Run, precision: str, probability: str) -> None:
    logits = np.stack([logits_of(19, (9, 13), seed) for seed in range(2)]).astype(TYPES[precision])
    found, untouched = guarded((2, 9, 13), np.uint8, shift=3)
    run(kernels.confidence(19, (9, 13), precision=precision, probability=probability, batch=2), logits, found)
    assert untouched()
    decoder = Decoder((9, 13), (65, 101), probability=probability)
    for each, confidence in zip(logits, found, strict=True):
        certainty = 255 * decoder.certainty(each)
        assert np.abs(confidence - certainty).max() <= 0.5 + 1e-3
        clear = np.abs(certainty % 1 - 0.5) > 1e-3  # of half a step
        assert np.array_equal(confidence[clear], decoder.confidence(each)[clear])
    assert len(np.unique(found)) > 20


@pytest.mark.parametrize("scale", [0.2, 1.0])
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("probability", PROBABILITIES)
@pytest.mark.parametrize("precision", TYPES)
@pytest.mark.parametrize(("low", "full"), GEOMETRIES)
def test_unknown_labels(
    run: Run,
    low: tuple[int, int],
    full: tuple[int, int],
    precision: str,
    probability: str,
    align_corners: bool,
    scale: float,
) -> None:
    """255 exactly where the best probability of the upsampled logits is below the bound."""
    logits = (logits_of(7, low, seed=5) * scale).astype(TYPES[precision])
    exact = upsampled(logits, full, align_corners)
    best = (sigmoid if probability == "sigmoid" else softmax)(exact).max(axis=0)
    plain = decoded(run, logits, full, align_corners)
    winners, confidence = np.zeros(low, np.uint8), np.zeros(low, np.uint8)
    run(kernels.winners(7, low, precision=precision), logits, winners)
    run(kernels.confidence(7, low, precision=precision, probability=probability), logits, confidence)
    for below in (0.4, 0.8, 1.0):
        found, untouched = guarded(full, np.uint8, shift=5)
        options = {"precision": precision, "probability": probability, "align_corners": align_corners}
        run(kernels.known_labels(7, low, full, below, **options), logits, winners, confidence, found)
        assert untouched()
        clear = np.abs(best - below) > 1e-5
        assert np.array_equal((found == 255)[clear], (best < below)[clear])
        assert np.array_equal(found[found != 255], plain[found != 255])


def test_half_precision_is_that_of_numpy(library: ctypes.CDLL) -> None:
    halves = np.arange(1 << 16, dtype=np.uint16)
    floats = np.empty(halves.size, np.float32)
    library.halves_to_floats(halves.ctypes.data_as(ctypes.c_void_p), floats.ctypes.data_as(ctypes.c_void_p), 1 << 16)
    assert np.array_equal(floats, halves.view(np.float16).astype(np.float32), equal_nan=True)
    random = np.random.default_rng(0).integers(0, 1 << 32, 1 << 18, dtype=np.uint32).view(np.float32)
    finite = floats[np.isfinite(floats)]
    between = (finite + np.nextafter(finite, np.float32(np.inf))) / 2
    steps = np.unique(np.abs(finite))
    halfway = (steps[1:] + steps[:-1]) / 2  # exact in float32: ties go to even
    edges = np.float32([65519.996, 65520, 65504, 1e30, -1e30, 2**-25, 2**-24, 0.0, -0.0, np.inf])
    values = np.concatenate([random[~np.isnan(random)], finite, between, halfway, edges]).astype(np.float32)
    found = np.empty(values.size, np.uint16)
    library.floats_to_halves(values.ctypes.data_as(ctypes.c_void_p), found.ctypes.data_as(ctypes.c_void_p), values.size)
    with np.errstate(over="ignore"):
        assert np.array_equal(found, values.astype(np.float16).view(np.uint16))


def test_every_entry_point_is_in_the_source(library: ctypes.CDLL) -> None:
    none = (ctypes.c_uint * 3)(0, 0, 0)
    for entry in kernels.ENTRY_POINTS:
        assert library.launch(entry.encode(), none, none, 0, None), entry
    assert not library.launch(b"fastscnn_nothing", none, none, 0, None)


def test_the_digest_follows_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastscnn.runtime.decode.kernels import source

    before = kernels.digest()
    assert kernels.MAIN in kernels.texts()
    copied = tmp_path / "kernels"
    shutil.copytree(kernels.FOLDER, copied)
    monkeypatch.setattr(source, "FOLDER", copied)
    assert kernels.digest() == before
    for name in kernels.texts():
        text = (copied / name).read_text()
        (copied / name).write_text(text + "// changed\n")
        assert kernels.digest() != before, name
        (copied / name).write_text(text)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="256 classes; expected 2 to 255"):
        kernels.labels(256, (8, 8), (64, 64), precision="fp32")
    with pytest.raises(UsageError, match="below 2\\^30"):
        kernels.labels(19, (8, 32767), (64, 40000), precision="fp32")
    with pytest.raises(UsageError, match="pitch is 10 bytes; expected at least the 24"):
        kernels.frame((8, 8), (64, 64), pitch=10)
    with pytest.raises(UsageError, match="format 'mono16' is unknown to the kernels; expected one of bgr8"):
        kernels.frame((8, 8), (64, 64), form="mono16")
    with pytest.raises(UsageError, match="at least the 16 of a row of 8 pixels in yuyv"):
        kernels.frame((8, 8), (64, 64), form="yuyv", pitch=15)
    with pytest.raises(UsageError, match="'int8' is unknown"):
        kernels.winners(19, (8, 8), precision="int8")
    with pytest.raises(UsageError, match="'logistic' is unknown; expected one of softmax, sigmoid"):
        kernels.probabilities(19, (8, 8), (64, 64), precision="fp32", probability="logistic")
    with pytest.raises(UsageError, match="fewer frames"):
        kernels.winners(19, (8, 8), precision="fp16", batch=70000)
