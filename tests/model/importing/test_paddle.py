"""`.pdparams` as Paddle lays it out, written here with pickle; and pickles that would do harm."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fastscnn.model import CAMVID
from fastscnn.model.checkpoint import load, untrained
from fastscnn.model.importing import import_checkpoint, paddle
from fastscnn.model.importing.sources import SOURCES
from fastscnn.model.variant import PADDLESEG
from fastscnn.runtime import ArtifactError


def written(path: Path, content: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def arrays() -> dict[str, np.ndarray]:
    """PaddleSeg's names, without the counters that its batch norm does not have."""
    (source,) = (s for s in SOURCES if s.variant == PADDLESEG)
    state = untrained(CAMVID, 6, PADDLESEG).network.state_dict()
    named = source.names(name for name in state if not name.endswith("num_batches_tracked"))
    return {foreign: state[own].numpy() for own, foreign in named.items()}


class Tensor:
    """Pickles as Paddle's tensors do when they are saved by themselves: a tuple of name and array."""

    def __init__(self, name: str, array: np.ndarray) -> None:
        self.pair = (name, array)

    def __reduce__(self) -> tuple[object, ...]:
        return tuple, (self.pair,)


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("made", [lambda name, array: array, Tensor], ids=["arrays", "tensors"])
def test_layouts_of_paddle_save(tmp_path: Path, made: Callable[[str, np.ndarray], object], protocol: int) -> None:
    content: dict[str, object] = {name: made(f"param_{i}", a) for i, (name, a) in enumerate(arrays().items())}
    content["StructuredToParameterName@@"] = {name: f"param_{i}" for i, name in enumerate(content)}
    path = written(tmp_path / "model.pdparams", content, protocol)
    checkpoint = load(import_checkpoint(path, tmp_path / "model.safetensors"))
    assert checkpoint.network.variant == PADDLESEG
    assert checkpoint.mean == checkpoint.std == (0.5, 0.5, 0.5)
    expected = untrained(CAMVID, 6, PADDLESEG).network.state_dict()
    assert all(np.array_equal(t, expected[n]) for n, t in checkpoint.network.state_dict().items())


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.int64).reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
        np.arange(4, dtype=">f4"),
        np.zeros((0, 3), np.float16),
        np.array(3.5, np.float32),
    ],
    ids=lambda a: f"{a.dtype.str}{a.shape}",
)
def test_arrays_come_as_they_went(tmp_path: Path, array: np.ndarray) -> None:
    found = paddle.read(written(tmp_path / "a.pdparams", {"a": array}))["a"]
    assert np.array_equal(found, array)
    assert found.shape == array.shape
    assert found.dtype.isnative
    assert found.flags.c_contiguous


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[object, ...]:
        return self.call


@pytest.mark.parametrize(
    "harmful",
    [
        Calls(os.system, "touch exploded"),
        Calls(eval, "open('exploded', 'w')"),
        Calls(eval, "data", {"data": np.zeros(3)}),  # as Paddle pickles a LoDTensor, which is no reason to evaluate
        Calls(getattr, "text", "upper"),
        Calls(np.load, "exploded.npy"),
        Calls(__import__, "antigravity"),
    ],
    ids=["system", "eval", "LoDTensor", "getattr", "numpy.load", "import"],
)
def test_nothing_in_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harmful: Calls) -> None:
    monkeypatch.chdir(tmp_path)
    for content in ({"a": harmful}, harmful, {"a": np.zeros(3), "b": [harmful]}):
        path = written(tmp_path / "bad.pdparams", content)
        with pytest.raises(ArtifactError, match=r"asks for .*; nothing in it was run") as caught:
            paddle.read(path)
        assert "paddle.save" in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["bad.pdparams"]


@pytest.mark.parametrize(
    "content",
    [
        [np.zeros(3)],
        {"a": 3},
        {"a": "text"},
        {3: np.zeros(3)},
        {"a": np.array(["x"])},
        {"a": np.array([print, 3], dtype=object)},
        {"a": np.zeros(2, [("x", "f4")])},
        {"a": (1, 2, 3)},
    ],
    ids=["list", "number", "text", "key", "strings", "objects", "records", "tuple"],
)
def test_what_is_not_a_dict_of_arrays_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(ArtifactError, match="not a state dict of plain arrays"):
        paddle.read(written(tmp_path / "odd.pdparams", content))


def test_a_pickle_cannot_change_the_reader(tmp_path: Path) -> None:
    """BUILD sets attributes on whatever lies on the stack, also on a class or function that the reader handed out."""
    for module, name in (("numpy", "ndarray"), ("numpy.core.multiarray", "_reconstruct"), ("numpy", "dtype")):
        state = pickle.dumps((None, {"made": "x", "__call__": "x"}), 2)[2:-1]
        path = tmp_path / "build.pdparams"
        path.write_bytes(b"\x80\x02" + f"c{module}\n{name}\n".encode() + state + b"b.")
        with pytest.raises(ArtifactError):
            paddle.read(path)
    good = np.arange(3, dtype=np.float32)
    assert np.array_equal(paddle.read(written(tmp_path / "good.pdparams", {"a": good}))["a"], good)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    whole = pickle.dumps({"a": np.arange(100, dtype=np.float32)}, 4)
    path = tmp_path / "cut.pdparams"
    for data in (b"", whole[:-50], whole[: len(whole) // 2], whole[100:], whole.replace(b"K\x64", b"K\x63", 1)):
        path.write_bytes(data)
        with pytest.raises(ArtifactError):
            paddle.read(path)
    with pytest.raises(ArtifactError, match="cannot be read"):
        paddle.read(tmp_path / "absent.pdparams")
