import json
import pickle
from pathlib import Path

import pytest
import torch

from fastscnn.model import CAMVID, CITYSCAPES, ClassSet, FastSCNN
from fastscnn.model.checkpoint import Checkpoint, load, save, untrained
from fastscnn.runtime import ArtifactError, UsageError


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return untrained(CAMVID, seed=1)


def test_round_trip_keeps_everything(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "weights.safetensors"
    save(path, Checkpoint(checkpoint.network, CAMVID, (0.5, 0.4, 0.3), (0.2, 0.2, 0.1)))
    again = load(path)
    assert again.classes == CAMVID
    assert (again.mean, again.std) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))
    assert len(again.digest) == 64
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(again.network(image), checkpoint.network(image))


def test_untrained_weights_follow_the_seed() -> None:
    first, again, other = (
        untrained(CITYSCAPES, seed).network.state_dict()["classifier.conv.weight"] for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_plain_state_dict_gets_its_classes_from_their_number(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "weights.pth"
    torch.save(checkpoint.network.state_dict(), path)
    assert load(path).classes == CAMVID
    with pytest.raises(UsageError, match="has 11 classes, but cityscapes has 19"):
        load(path, CITYSCAPES)


def test_unknown_class_count_needs_names(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(FastSCNN(7).state_dict(), path)
    with pytest.raises(UsageError, match="7 classes and does not name them"):
        load(path)


def test_classes_that_the_file_names_are_not_taken_for_others(tmp_path: Path, checkpoint: Checkpoint) -> None:
    save(tmp_path / "named.safetensors", checkpoint)
    torch.save(checkpoint.network.state_dict(), tmp_path / "nameless.pth")
    swapped = ClassSet("yard", ("building", "sky", *CAMVID.classes[2:]), CAMVID.palette)
    assert load(tmp_path / "named.safetensors", CAMVID).classes == CAMVID
    assert load(tmp_path / "nameless.pth", swapped).classes == swapped
    with pytest.raises(UsageError, match="trained on camvid, whose class 0 is 'sky', but yard has 'building' there"):
        load(tmp_path / "named.safetensors", swapped)


def test_faults_are_told_apart(tmp_path: Path, checkpoint: Checkpoint) -> None:
    state = checkpoint.network.state_dict()
    path = tmp_path / "weights.pth"

    def refused(content: object) -> str:
        torch.save(content, path)
        with pytest.raises(ArtifactError) as caught:
            load(path)
        return str(caught.value)

    missing = dict(state)
    del missing["feature_fusion.high.conv.weight"]
    assert "misses feature_fusion.high.conv.weight" in refused(missing)
    assert "has, beyond the network, extra.weight" in refused({**state, "extra.weight": torch.zeros(1)})
    assert "feature_fusion.high.conv.weight has shape (3,)" in refused(
        {**state, "feature_fusion.high.conv.weight": torch.zeros(3)}
    )
    assert "has no classifier.conv.weight" in refused({"a": torch.zeros(1)})
    assert "holds a list" in refused([1, 2])


def test_training_checkpoints_give_their_network(tmp_path: Path, checkpoint: Checkpoint) -> None:
    from fastscnn.model.network import WithAuxiliaryHeads

    path = tmp_path / "weights.pth"
    for content in (
        WithAuxiliaryHeads(checkpoint.network).state_dict(),
        {"state_dict": checkpoint.network.state_dict(), "epoch": 3},
    ):
        torch.save(content, path)
        found = load(path).network.state_dict()
        assert all(torch.equal(tensor, found[name]) for name, tensor in checkpoint.network.state_dict().items())


@pytest.mark.parametrize(
    "damage", [{"palette": None}, {"mean": [0.5]}, {"classes": ["one"]}, {"std": ["a", "b", "c"]}, {"class_set": 3}]
)
def test_damaged_descriptions_are_refused(tmp_path: Path, checkpoint: Checkpoint, damage: dict[str, object]) -> None:
    from safetensors.torch import save_file

    described = {
        "class_set": "camvid",
        "classes": CAMVID.classes,
        "palette": CAMVID.palette,
        "mean": [0.5] * 3,
        "std": [0.2] * 3,
    }
    path = tmp_path / "weights.safetensors"
    save_file(checkpoint.network.state_dict(), path, {"fastscnn": json.dumps({**described, **damage})})
    with pytest.raises(ArtifactError, match="incomplete or damaged"):
        load(path)


def test_files_that_are_no_checkpoints(tmp_path: Path, checkpoint: Checkpoint) -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        load(tmp_path / "absent.safetensors")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(ArtifactError, match="not a PyTorch checkpoint"):
        load(tmp_path / "text.pth")
    save(tmp_path / "whole.safetensors", checkpoint)
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:-1000])
    with pytest.raises(ArtifactError, match="truncated"):
        load(tmp_path / "cut.safetensors")


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("open('exploded', 'w')",)


def test_pickled_code_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, write in (("a.pth", lambda f: torch.save(_Bomb(), f)), ("b.pth", lambda f: pickle.dump(_Bomb(), f))):
        with (tmp_path / name).open("wb") as file:
            write(file)
        with pytest.raises(ArtifactError):
            load(tmp_path / name)
    assert not (tmp_path / "exploded").exists()
