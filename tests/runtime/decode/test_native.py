"""The compiled decode beside NumPy's: every instruction set, nothing written beside the result, whatever the logits."""

import ctypes
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reference import logits_of

from fastscnn.runtime import UsageError
from fastscnn.runtime.decode import Decoder, native
from fastscnn.runtime.decode.axis import Axis
from fastscnn.runtime.decode.crew import Crew
from fastscnn.runtime.decode.decoder import described
from fastscnn.runtime.decode.in_numpy import InNumPy
from fastscnn.runtime.decode.native import Library, Native

LEVELS = range(1 + (library.level if (library := native.found()[0]) else -1))
GEOMETRIES = [
    ((16, 40), (128, 320)),  # a factor of eight, rows of whole cache lines, several blocks of columns
    ((9, 13), (65, 100)),
    ((5, 7), (160, 112)),  # cells wider than are looked at together, on one axis
    ((11, 70), (4, 23)),  # cells without a pixel
    ((1, 1), (8, 9)),
]
CREW = Crew(1)


@pytest.fixture
def compiled() -> Library:
    found, why = native.found()
    if found is None:
        pytest.skip(why)
    return found


def guarded(shape: tuple[int, ...], dtype: type, shift: int) -> tuple[np.ndarray, Callable[[], bool]]:
    """An array in the middle of a larger one, `shift` elements from where a cache line begins; and whether that is untouched."""
    size = int(np.prod(shape))
    around = np.full(size + 256, 77, dtype)
    start = 64 + (-around.ctypes.data // around.itemsize - 64) % 64 + shift
    inside = slice(start, start + size)
    return around[inside].reshape(shape), lambda: bool(
        np.all(around[: inside.start] == 77) and np.all(around[inside.stop :] == 77)
    )


@pytest.mark.parametrize("shift", [0, 3])
@pytest.mark.parametrize("streamed", [0, 1 << 40])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("low", "full"), GEOMETRIES)
def test_every_instruction_set_gives_what_numpy_gives(
    low: tuple[int, int],
    full: tuple[int, int],
    level: int,
    streamed: int,
    shift: int,
    compiled: Library,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(native, "_STREAMED", streamed)
    axes = [Axis.between(*pair, False) for pair in zip(low, full, strict=True)]
    for probability, classes in (("softmax", 19), ("sigmoid", 3), ("softmax", 1)):
        logits = logits_of(classes, low)
        steps = Native(replace(compiled, level=level), *axes, probability)
        reference = InNumPy(*axes, False, probability)
        assert np.abs(steps.certainty(logits) - reference.certainty(logits)).max() < 1e-6
        found, untouched = guarded((classes, *full), np.float32, shift)
        expected = np.empty(found.shape, np.float32)
        steps.probabilities(logits, found, CREW)
        reference.probabilities(logits, expected, CREW)
        assert untouched()
        assert np.abs(found - expected).max() < 2e-6
        for below in (0.0, 0.7):
            labels, untouched = guarded(full, np.uint8, shift)
            expected = np.empty(full, np.uint8)
            steps.labels(logits, below, labels, CREW)
            reference.labels(logits, below, expected, CREW)
            assert untouched()
            assert np.mean(labels != expected) < 1e-3  # ties


@pytest.mark.parametrize("level", LEVELS)
def test_exponentials_are_exact_to_a_few_roundings(level: int, compiled: Library) -> None:
    """Sigmoids of 0 to 80, which are their exponentials but for a one."""
    logits = np.linspace(0, 80, 40_000, dtype=np.float32).reshape(1, 200, 200)
    axis = Axis.between(200, 200, False)
    found = np.empty_like(logits)
    Native(replace(compiled, level=level), axis, axis, "sigmoid").probabilities(-logits, found, CREW)
    exact = 1 / (1 + np.exp(logits.astype(np.float64)))
    assert np.max(np.abs(found - exact) / exact) < 80 * 2.0**-23, "the exponent's own rounding"
    near_one = logits[0].ravel() < 2
    assert np.max((np.abs(found - exact) / exact).ravel()[near_one]) < 4e-7


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("probability", ["softmax", "sigmoid"])
def test_a_sample_that_is_no_number_spoils_no_more_than_its_cells(
    value: float, probability: str, compiled: Library
) -> None:
    logits = logits_of(7, (12, 16))
    decoder = Decoder((12, 16), (96, 128), probability=probability)
    clean = decoder.labels(logits), decoder.labels(logits, 0.7), decoder.probabilities(logits)
    broken = logits.copy()
    broken[3, 5, 6] = value
    touched = np.zeros((96, 128), bool)
    touched[4 * 8 : 7 * 8, 5 * 8 : 8 * 8] = True
    for found, before in zip((decoder.labels(broken), decoder.labels(broken, 0.7)), clean[:2], strict=True):
        assert np.array_equal(found[~touched], before[~touched])
        assert set(np.unique(found[touched])) <= {*range(7), 255}
    found = decoder.probabilities(broken)
    assert np.abs(found[:, ~touched] - clean[2][:, ~touched]).max() < 1e-6
    inside = found[:, touched]
    assert np.all(np.isnan(inside) | ((inside >= 0) & (inside <= 1)))


def test_threads_share_a_decoder(compiled: Library) -> None:
    all_logits = [logits_of(19, (32, 64), seed=seed, smooth=2) for seed in range(6)]
    decoder = Decoder((32, 64), (256, 512), threads=3)
    expected = [(decoder.labels(one, 0.5).copy(), decoder.probabilities(one).copy()) for one in all_logits]
    wrong: list[int] = []

    def work(index: int) -> None:
        for _ in range(5):
            labels, probabilities = decoder.labels(all_logits[index], 0.5), decoder.probabilities(all_logits[index])
            if not (np.array_equal(labels, expected[index][0]) and np.array_equal(probabilities, expected[index][1])):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    decoder.close()
    assert not wrong


def test_logits_of_another_shape_are_refused() -> None:
    decoder = Decoder((8, 8), (64, 64))
    for shape in ((19, 8, 9), (8, 8), (1, 19, 8, 8), (0, 8, 8), (256, 8, 8)):
        with pytest.raises(UsageError, match=r"expected \(classes, 8, 8\)"):
            decoder.labels(np.zeros(shape, np.float32))
    assert decoder.probabilities(np.zeros((2, 8, 8), np.float32)).shape == (2, 64, 64)
    assert decoder.probabilities(np.zeros((5, 8, 8), np.float32)).shape == (5, 64, 64)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which the library is looked for."""
    monkeypatch.setattr(native, "__file__", str(tmp_path / "__init__.py"))
    native._loaded.cache_clear()
    yield tmp_path
    native._loaded.cache_clear()


def test_without_a_library_numpy_decodes(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = logits_of(5, (8, 8))
    assert described() == "NumPy, as the install found no C compiler"
    assert Decoder((8, 8), (64, 64)).labels(logits).shape == (64, 64)
    monkeypatch.setenv(native.CHOICE, "native")
    with pytest.raises(UsageError, match=r"the install found no C compiler\. Install a C compiler"):
        Decoder((8, 8), (64, 64))
    monkeypatch.setenv(native.CHOICE, "fast")
    with pytest.raises(UsageError, match="'fast' is unknown; expected one of auto, native, numpy"):
        Decoder((8, 8), (64, 64))


def test_a_library_that_is_damaged_or_of_another_version_is_left_alone(elsewhere: Path) -> None:
    (elsewhere / "_decode.abi3.so").write_bytes(b"\x7fELF, but no more")
    assert described().startswith("NumPy, as what was compiled does not load: ")
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    native._loaded.cache_clear()
    (elsewhere / "old.c").write_text("int fastscnn_interface(void) { return 0; }\n")
    (elsewhere / "_decode.abi3.so").unlink()
    subprocess.run([compiler, "-shared", "-fPIC", "-o", elsewhere / "_decode.abi3.so", elsewhere / "old.c"], check=True)
    assert described() == "NumPy, as what was compiled is of another version"


def test_numpy_can_be_asked_for(compiled: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    assert described() == f"compiled, {compiled.name}"
    monkeypatch.setenv(native.CHOICE, "numpy")
    assert described() == f"NumPy, as {native.CHOICE} says so"


def test_no_memory_is_an_error() -> None:
    with pytest.raises(MemoryError, match="no memory for the decode"):
        native._check(1)


def test_the_structures_are_as_large_as_those_of_c(compiled: Library, tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    source = Path(native.__file__).with_name("decode.c")
    program = tmp_path / "sizes.c"
    program.write_text(
        f'#include "{source}"\n#include <stdio.h>\nint main(void) {{ printf("%zu %zu", sizeof(Axis), sizeof(Geometry)); }}\n'
    )
    subprocess.run([compiler, "-w", "-O0", "-o", tmp_path / "sizes", program, "-lm"], check=True)
    sizes = subprocess.run([tmp_path / "sizes"], capture_output=True, text=True, check=True).stdout
    assert sizes == f"{ctypes.sizeof(native._Axis)} {ctypes.sizeof(native._Geometry)}"


def test_random_geometries_and_logits(compiled: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any ratio, number of classes, spread, bound and number of threads: what NumPy gives, but for ties within rounding."""
    monkeypatch.setattr(native, "_SHARED", 1)  # labels by several threads, too
    random, crew = np.random.default_rng(7), Crew(3)
    for _ in range(40):
        low, full = random.integers(1, 24, 2), random.integers(1, 120, 2)
        if random.random() < 0.5:  # a whole factor on each axis
            full = low * random.integers(1, 12, 2)
        classes, spread = int(random.choice([1, 2, 11, 60])), float(random.choice([0.1, 1, 30]))
        aligned, below = bool(random.random() < 0.5), float(random.choice([0, 0.4, 0.9]))
        probability = str(random.choice(["softmax", "sigmoid"]))
        axes = [Axis.between(int(a), int(b), aligned) for a, b in zip(low, full, strict=True)]
        about = f"{low} to {full}, {classes} classes, {probability}, {aligned=}, {spread=}, {below=}"
        logits = logits_of(classes, tuple(low), seed=int(random.integers(99)), smooth=2) * np.float32(spread)
        ways = Native(compiled, *axes, probability), InNumPy(*axes, aligned, probability)
        labels = [np.empty(full, np.uint8) for _ in ways]
        chances = [np.empty((classes, *full), np.float32) for _ in ways]
        for way, into, likely in zip(ways, labels, chances, strict=True):
            way.labels(logits, below, into, crew)
            way.probabilities(logits, likely, crew)
        assert np.abs(chances[0] - chances[1]).max() < 2e-6 * max(1, np.abs(logits).max() / 8), about
        ranked = np.sort(chances[1], axis=0)
        clear = np.abs(ranked[-1] - below) > 1e-4
        if classes > 1:
            clear &= ranked[-1] - ranked[-2] > 1e-4
        assert np.array_equal(labels[0][clear], labels[1][clear]), about
    crew.close()
