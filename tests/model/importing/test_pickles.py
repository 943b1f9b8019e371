"""Checkpoints as training frameworks leave them: their tensors are taken, and nothing that they name is called."""

import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastscnn.model import CITYSCAPES, pickles
from fastscnn.model.checkpoint import load, untrained
from fastscnn.model.importing import import_checkpoint
from fastscnn.model.importing.sources import SOURCES
from fastscnn.model.variant import MMSEG
from fastscnn.runtime import ArtifactError, UsageError

CALLED: list[str] = []


@pytest.fixture(scope="module")
def mmseg() -> dict[str, Tensor]:
    (source,) = (s for s in SOURCES if s.variant == MMSEG)
    state = untrained(CITYSCAPES, 5, MMSEG).network.state_dict()
    return {name: state[own] for own, name in source.names(state).items()}


@pytest.fixture
def framework(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """A library that exists where the file is written and not where it is read; it says when it is called."""
    module = types.ModuleType("mmengine_like")

    class HistoryBuffer:
        def __init__(self) -> None:
            self.history, self.functions = np.arange(3.0), {"mean": min}

        def __setstate__(self, state: dict[str, Any]) -> None:
            CALLED.append("setstate")

        def __reduce_ex__(self, protocol: int) -> Any:  # type: ignore[override]
            return _build, (HistoryBuffer,), self.__dict__

    def _build(kind: type) -> object:
        CALLED.append("build")
        return kind()

    for thing in (HistoryBuffer, _build):
        thing.__module__, thing.__qualname__ = module.__name__, thing.__name__
        setattr(module, thing.__name__, thing)
    sys.modules[module.__name__] = module
    yield module
    sys.modules.pop(module.__name__, None)
    CALLED.clear()


def leave(framework: types.ModuleType) -> None:
    sys.modules.pop(framework.__name__)


def test_what_mmengine_leaves(tmp_path: Path, mmseg: dict[str, Tensor], framework: types.ModuleType) -> None:
    content = {
        "meta": {
            "epoch": np.float64(3),
            "dataset_meta": {"classes": CITYSCAPES.classes, "palette": CITYSCAPES.palette},
        },
        "state_dict": OrderedDict(mmseg),
        "message_hub": {"log_scalars": {"loss": framework.HistoryBuffer()}, "numbers": np.array([1, 2])},
        "optimizer": torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.1).state_dict(),
    }
    torch.save(content, tmp_path / "iter_6.pth")
    leave(framework)
    CALLED.clear()
    found = load(import_checkpoint(tmp_path / "iter_6.pth", tmp_path / "ours.safetensors"))
    expected = untrained(CITYSCAPES, 5, MMSEG).network.state_dict()
    assert all(torch.equal(found.network.state_dict()[name], tensor) for name, tensor in expected.items())
    assert found.classes == CITYSCAPES
    assert not CALLED


def test_the_real_one(shared: Path, tmp_path: Path) -> None:
    path = shared / "cases" / "checkpoints" / "mmengine_iter_6.pth"
    if not path.exists():
        pytest.skip("no real MMEngine checkpoint beside this checkout")
    assert load(import_checkpoint(path, tmp_path / "ours.safetensors")).classes == CITYSCAPES


def test_views_and_kinds_of_tensors(tmp_path: Path, framework: types.ModuleType) -> None:
    """Read as PyTorch reads them where it would: strides, offsets, shared storage, halves, whole numbers, empty ones."""
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "view": base[1:3, ::2], "turned": base.T, "half": base.half(), "brain": base.bfloat16(), "count": torch.tensor(7),
        "empty": torch.zeros(0, 3), "bytes": torch.arange(5, dtype=torch.uint8), "flag": torch.tensor([True, False]),
        "parameter": torch.nn.Parameter(base.clone()),
    }  # fmt: skip
    torch.save({**tensors, "strange": framework.HistoryBuffer()}, tmp_path / "a.pth")
    leave(framework)
    found = pickles.read((tmp_path / "a.pth").read_bytes())
    assert isinstance(found["strange"], pickles.Inert)
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype, name


def test_wrappings(tmp_path: Path, mmseg: dict[str, Tensor]) -> None:
    """Lightning's prefix and a loss's weights beside, averaged weights alone or where they are asked for."""
    other = {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in mmseg.items()}
    lightning = {f"model.{name}": tensor for name, tensor in mmseg.items()} | {"criterion.weight": torch.zeros(19)}
    ema = {"steps": torch.tensor(6), **{f"module.{name}": tensor for name, tensor in mmseg.items()}}
    target = tmp_path / "ours.safetensors"
    first = next(name for name in untrained(CITYSCAPES, 5, MMSEG).network.state_dict() if name.endswith("conv.weight"))
    expected = untrained(CITYSCAPES, 5, MMSEG).network.state_dict()[first]
    for content, options in (
        ({"state_dict": lightning, "pytorch-lightning_version": "2.5", "hyper_parameters": {"lr": 0.1}}, {}),
        ({"ema_state_dict": ema, "meta": {}}, {}),
        ({"state_dict": other, "ema_state_dict": ema}, {"ema": True}),
        ({"state_dict": mmseg, "ema_state_dict": {f"module.{n}": t for n, t in other.items()}}, {}),
    ):
        torch.save(content, tmp_path / "theirs.ckpt")
        found = load(import_checkpoint(tmp_path / "theirs.ckpt", target, **options)).network.state_dict()  # type: ignore[arg-type]
        assert torch.equal(found[first], expected)
    torch.save(mmseg, tmp_path / "theirs.ckpt")
    with pytest.raises(UsageError, match="has no averaged weights"):
        import_checkpoint(tmp_path / "theirs.ckpt", target, ema=True)


def test_a_whole_module_is_refused_by_its_reason(tmp_path: Path, framework: types.ModuleType) -> None:
    class Theirs(torch.nn.Module):
        pass

    Theirs.__module__, Theirs.__qualname__ = framework.__name__, "Theirs"
    framework.Theirs = Theirs  # type: ignore[attr-defined]
    for content in (Theirs(), {"epoch": 3, "model": Theirs()}):
        sys.modules[framework.__name__] = framework
        torch.save(content, tmp_path / "whole.pth")
        leave(framework)
        for read in (lambda p: import_checkpoint(p, tmp_path / "o.safetensors"), load):
            with pytest.raises(ArtifactError, match=r"a whole object of mmengine_like.Theirs.*network.state_dict\(\)"):
                read(tmp_path / "whole.pth")


class _Calls:
    """Pickles as a call of anything."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def test_nothing_that_a_file_names_is_called(
    tmp_path: Path, mmseg: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for index, bomb in enumerate(
        (
            _Calls(eval, "open('exploded', 'w')"),
            _Calls(exec, "open('exploded', 'w')"),
            _Calls(Path.touch, Path("exploded")),
            _Calls(getattr, _Calls(__import__, "os"), "system"),
            _Calls(io.open, "exploded", "w"),
            _Calls(map, _Calls(eval, "open('exploded', 'w')"), [1]),
        )
    ):
        torch.save({"state_dict": mmseg, "meta": {"bomb": bomb}}, tmp_path / f"{index}.pth")
        import_checkpoint(tmp_path / f"{index}.pth", tmp_path / "ours.safetensors")  # its weights are sound
        torch.save(bomb, tmp_path / f"{index}.pth")
        with pytest.raises(ArtifactError):
            import_checkpoint(tmp_path / f"{index}.pth", tmp_path / "ours.safetensors")
    assert not (tmp_path / "exploded").exists()


def archive(pickled: bytes, numbers: bytes = b"\0" * 64) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("archive/data.pkl", pickled)
        made.writestr("archive/byteorder", b"little")
        made.writestr("archive/data/0", numbers)
    return buffer.getvalue()


def assembled(size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, count: int = 16) -> bytes:
    """A pickle that asks for a view of sixteen floats."""

    class Writer(pickle._Pickler):
        def persistent_id(self, thing: object) -> object:
            return ("storage", torch.FloatStorage, "0", "cpu", count) if thing == "numbers" else None

    buffer = io.BytesIO()
    Writer(buffer, 2).dump(
        _Calls(torch._utils._rebuild_tensor_v2, "numbers", offset, size, stride, False, OrderedDict())
    )
    return archive(buffer.getvalue())


def test_shapes_that_claim_more_than_the_file_holds() -> None:
    assert pickles.read(assembled((4, 4), (4, 1))).shape == (4, 4)
    for wrong in (
        assembled((1 << 30, 4), (0, 1)),  # repeats itself
        assembled((4, 4), (4, 1), offset=1),
        assembled((4, 4), (8, 1)),
        assembled((-1, 4), (4, 1)),
        assembled((4,), (1, 1)),
        assembled((4, 4), (4, 1), count=17),
        archive(pickle.dumps({"a": bytearray(5)}, 5)),
        archive(b"\x80\x02r\xff\xff\xff\x7f."),  # a memo of two thousand million places
    ):
        with pytest.raises(Exception):  # noqa: B017  whatever the bytes mean: `unpickled` catches all
            pickles.read(wrong)


def test_attributes_of_what_a_pickle_is_given_stay_its_own() -> None:
    """BUILD sets attributes of the object before it: a file must not reach what the next file is read with."""
    for target in (b"cmmengine\nHistoryBuffer\n", b"ccollections\nOrderedDict\n", b"ctorch\nFloatStorage\n"):
        hostile = b"\x80\x02" + target + b"}(X\x04\x00\x00\x00nameX\x04\x00\x00\x00evilub."
        try:
            pickles.read(archive(hostile))
        except Exception:
            continue
    assert pickles.Inert.name == "an unknown object"
    assert not hasattr(OrderedDict, "name")
