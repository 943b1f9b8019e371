"""What `fastscnn-import` takes, says, refuses and writes. The checkpoints are this network's own, renamed back."""

import logging
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fastscnn.model import CAMVID, CITYSCAPES
from fastscnn.model.checkpoint import load, save, untrained
from fastscnn.model.classes import ClassSet
from fastscnn.model.importing import import_checkpoint
from fastscnn.model.importing.sources import SOURCES
from fastscnn.model.variant import MMSEG, TRAMAC, Variant
from fastscnn.runtime import ArtifactError, UsageError

State = dict[str, Tensor]


def numbered(count: int) -> ClassSet:
    return ClassSet("numbered", tuple(f"class {i}" for i in range(count)), tuple((i, i, i) for i in range(count)))


def foreign(variant: Variant, classes: ClassSet = CITYSCAPES) -> State:
    (source,) = (s for s in SOURCES if s.variant == variant)
    state = untrained(classes, 5, variant).network.state_dict()
    return {name: state[own] for own, name in source.names(state).items()}


@pytest.fixture(scope="module")
def tramac() -> State:
    return {**foreign(TRAMAC), "auxlayer.0.weight": torch.zeros(32, 64, 3, 3), "auxlayer.4.bias": torch.zeros(19)}


@pytest.fixture(scope="module")
def mmseg() -> State:
    return foreign(MMSEG)


@pytest.fixture
def imported(tmp_path: Path) -> Callable[..., Path]:
    """Save with torch, import, give the result's path."""

    def run(content: object, **options: object) -> Path:
        torch.save(content, tmp_path / "theirs.pth")
        return import_checkpoint(tmp_path / "theirs.pth", tmp_path / "ours.safetensors", **options)  # type: ignore[arg-type]

    return run


def test_wrappings_make_no_difference(imported: Callable[..., Path], tramac: State) -> None:
    expected = untrained(CITYSCAPES, 5, TRAMAC).network.state_dict()
    bare = {name: tensor for name, tensor in tramac.items() if not name.startswith("auxlayer.")}
    uncounted = {name: tensor for name, tensor in bare.items() if not name.endswith("num_batches_tracked")}
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.1, momentum=0.9).state_dict()
    for content in (
        tramac,
        bare,
        uncounted,
        {f"module.{name}": tensor for name, tensor in tramac.items()},
        {f"module._orig_mod.{name}": tensor for name, tensor in bare.items()},
        {"state_dict": tramac, "epoch": 160, "optimizer": optimizer, "best_pred": 0.5},
        {"epoch": 3, "model": {f"module.{name}": tensor for name, tensor in tramac.items()}},
        {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in bare.items()},
    ):
        checkpoint = load(imported(content))
        assert checkpoint.network.variant == TRAMAC
        for name, tensor in checkpoint.network.state_dict().items():
            near = torch.allclose(tensor.float(), expected[name].float(), rtol=1e-3, atol=1e-6)
            assert near or name.endswith("num_batches_tracked"), name


def test_it_says_what_it_found(imported: Callable[..., Path], tramac: State, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        imported({"state_dict": {f"module.{n}": t for n, t in tramac.items()}, "optimizer": {}})
    assert "found Tramac's Fast-SCNN-pytorch: 19 classes" in caplog.text
    assert "left out: 2 tensors of auxiliary heads, the prefix 'module.', optimizer" in caplog.text
    assert "variant tramac, classes of cityscapes" in caplog.text
    assert "does not name its 19 classes" in caplog.text
    assert "calibrated" not in caplog.text


def test_a_sigmoid_loss_is_warned_of(
    imported: Callable[..., Path], mmseg: State, caplog: pytest.LogCaptureFixture
) -> None:
    path = imported({"meta": {"CLASSES": CITYSCAPES.classes, "PALETTE": CITYSCAPES.palette}, "state_dict": mmseg})
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "soft-max over the logits is not a calibrated probability" in warning
    assert "--head prob" in warning
    assert load(path).network.variant.probability == "sigmoid"


def test_class_sets(imported: Callable[..., Path], tmp_path: Path) -> None:
    assert load(imported(foreign(MMSEG, CAMVID))).classes == CAMVID
    yard = tmp_path / "classes.yaml"
    yard.write_text("name: yard\nclasses: {grass: [0, 255, 0], hedge: [0, 99, 0], path: [128, 128, 128]}\n")
    three = foreign(MMSEG, numbered(3))
    found = load(imported(three, classes=yard)).classes
    assert (found.name, found.classes, found.palette[0]) == ("yard", ("grass", "hedge", "path"), (0, 255, 0))

    meta = {"dataset_meta": {"classes": ["a", "b", "c"], "palette": [[1, 2, 3], [4, 5, 6], [7, 8, 9]]}}
    found = load(imported({"meta": meta, "state_dict": three})).classes
    assert (found.classes, found.palette) == (("a", "b", "c"), ((1, 2, 3), (4, 5, 6), (7, 8, 9)))
    found = load(imported({"meta": {"CLASSES": ("a", "b", "c")}, "state_dict": three})).classes
    assert found.classes == ("a", "b", "c") and len(set(found.palette)) == 3, "colours are made"
    for content, options, message in (
        (three, {}, "3 classes and does not name them; name them with --classes"),
        (three, {"classes": "camvid"}, "has 3 classes, but camvid has 11"),
        (three, {"classes": "canvid"}, "Did you mean 'camvid'"),
    ):
        with pytest.raises(UsageError, match=message):
            imported(content, **options)
    with pytest.raises(ArtifactError, match="names 2 classes but has weights for 3"):
        imported({"meta": {"CLASSES": ("a", "b")}, "state_dict": three})


def test_what_does_not_fit_is_refused_by_name(imported: Callable[..., Path], tramac: State, mmseg: State) -> None:
    fusion = "feature_fusion.conv_lower_res.0.bias"
    without = {name: tensor for name, tensor in tramac.items() if name != fusion}
    merge = "backbone.global_feature_extractor.out.conv.weight"
    for content, message in (
        (without, f"is Tramac's Fast-SCNN-pytorch by its names, but misses {fusion}; expected it as published"),
        ({**tramac, "attention.weight": torch.zeros(1)}, "has, beyond the network, attention.weight"),
        ({**tramac, fusion: torch.zeros(64)}, rf"{fusion} has shape \(64,\); expected \(128,\)"),
        ({**tramac, fusion: torch.full((128,), torch.nan)}, f"{fusion} holds numbers that are not finite"),
        ({**mmseg, merge: torch.zeros(128, 256, 1, 1)}, r"expected \(128, 256, 3, 3\).*before 0.19"),
        ({"layer.weight": torch.zeros(1)}, "has 1 tensors such as layer.weight, which no known Fast-SCNN has"),
        (untrained(CAMVID).network.state_dict(), "a checkpoint of this project already"),
        ({"state_dict": {}}, "has nothing where weights were expected"),
        ({"epoch": 3, "weights": 4}, "has epoch, weights where weights were expected"),
        ([1, 2], "holds a list; expected a state dict"),
        ({**tramac, "classifier.conv.1.weight": torch.zeros(1, 128, 1, 1)}, "1 classes; 2 to 255"),
        ({**tramac, "classifier.conv.1.weight": torch.tensor(1.0)}, "0 classes; 2 to 255"),
    ):
        with pytest.raises(ArtifactError, match=message):
            imported(content)


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    for name, content, message in (
        ("absent.pth", None, "is not a file"),
        ("text.pth", b"hello", "not a PyTorch checkpoint"),
        ("text.pdparams", b"hello", "not a state dict of plain arrays"),
        ("text.safetensors", b"hello", "not safetensors"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ArtifactError, match=message):
            import_checkpoint(tmp_path / name, tmp_path / "ours.safetensors")
    assert not (tmp_path / "ours.safetensors").exists()


def test_foreign_safetensors_are_read(tmp_path: Path, mmseg: State) -> None:
    from safetensors.torch import save_file

    save_file(mmseg, tmp_path / "theirs.safetensors")
    path = import_checkpoint(tmp_path / "theirs.safetensors", tmp_path / "ours.safetensors")
    assert load(path).network.variant == MMSEG
    with pytest.raises(ArtifactError, match="this project already"):
        import_checkpoint(path, tmp_path / "again.safetensors")


def test_command(
    command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, tramac: State, mmseg: State
) -> None:
    torch.save(mmseg, tmp_path / "theirs.pth")
    done = command("fastscnn-import", "theirs.pth")
    assert (done.returncode, done.stdout) == (0, "model.safetensors\n"), done.stderr
    assert "found MMSegmentation's Fast-SCNN: 19 classes" in done.stderr
    assert load(tmp_path / "model.safetensors").network.variant == MMSEG
    save(tmp_path / "own.safetensors", untrained(CAMVID))
    for arguments, code, message in (
        (["own.safetensors"], 4, "already"),
        (["theirs.pth", "--classes", "camvid"], 2, "19 classes, but camvid has 11"),
        (["theirs.pth", "-o", "no/such/m.safetensors"], 1, "no/such is not a folder"),
    ):
        done = command("fastscnn-import", *arguments)
        assert done.returncode == code
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_a_result_that_nothing_would_read_is_refused(tramac: State, tmp_path: Path) -> None:
    torch.save(tramac, tmp_path / "theirs.pth")
    with pytest.raises(UsageError, match="does not end in"):
        import_checkpoint(tmp_path / "theirs.pth", tmp_path / "ours.pth")
