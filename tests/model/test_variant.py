"""The variants' networks: size, geometry, what is refused, and their way through a checkpoint."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from fastscnn.model import CAMVID, CITYSCAPES
from fastscnn.model.checkpoint import load, save, tensors_of, untrained
from fastscnn.model.inference import Network
from fastscnn.model.network import FastSCNN, PadSame, WithAuxiliaryHeads
from fastscnn.model.variant import MMSEG, PADDLESEG, PAPER, TRAMAC, VARIANTS, Variant
from fastscnn.runtime import ArtifactError

SIZES = [(64, 64), (65, 66), (67, 100), (68, 71), (131, 97)]


@pytest.mark.parametrize(
    ("variant", "parameters"),
    [(PAPER, 1_137_795), (TRAMAC, 1_138_051), (MMSEG, 1_399_939), (PADDLESEG, 1_401_187)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_parameters_are_those_of_the_originals(variant: Variant, parameters: int) -> None:
    assert sum(p.numel() for p in FastSCNN(19, variant).parameters()) == parameters


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_the_variant_tells_the_size_of_the_logits(variant: Variant) -> None:
    network = FastSCNN(5, variant).eval()
    with torch.inference_mode():
        for size in SIZES:
            assert tuple(network(torch.zeros(1, 3, *size)).shape[2:]) == variant.logits_size(*size)


@pytest.mark.parametrize("size", [(8, 8), (8, 9), (9, 8), (9, 9)])
def test_same_padding_takes_from_the_end_first(size: tuple[int, int]) -> None:
    """TensorFlow's rule, which Paddle has: ⌈n/2⌉ results, the smaller half of the padding in front."""
    x = torch.arange(size[0] * size[1]).float().view(1, 1, *size) + 1
    expected = x
    for axis, side in ((3, size[1]), (2, size[0])):
        total = max((-(-side // 2) - 1) * 2 + 3 - side, 0)
        before = torch.zeros_like(expected).narrow(axis, 0, total // 2)
        after = torch.zeros_like(expected).narrow(axis, 0, total - total // 2)
        expected = torch.cat([before, expected, after], dim=axis)
    assert torch.equal(PadSame()(x), expected)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_auxiliary_heads_stand_where_the_variant_has_them(variant: Variant) -> None:
    logits = WithAuxiliaryHeads(FastSCNN(4, variant))(torch.randn(2, 3, 64, 96))
    sizes = {"learning_to_downsample": (8, 12), "global_feature_extractor": (2, 3)}
    assert [tuple(t.shape[2:]) for t in logits] == [(8, 12), *(sizes[part] for part in variant.auxiliary)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"stem_padding": 2},
        {"stem_padding": "valid"},
        {"separable_activation": "swish"},
        {"pooling_bins": (1, 2, 3)},
        {"pooling_kernel": 5},
        {"auxiliary": ("classifier",)},
        {"probability": "argmax"},
        {"fusion_bias": 1},
    ],
)
def test_fields_that_no_network_has_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"variant's {next(iter(wrong))} is"):
        replace(PAPER, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_a_checkpoint_keeps_its_variant(tmp_path: Path, variant: Variant) -> None:
    path = tmp_path / "weights.safetensors"
    source = untrained(CAMVID, 3, variant)
    save(path, source)
    again = load(path)
    assert again.network.variant == variant
    assert (again.mean, again.std, again.classes) == (variant.mean, variant.std, CAMVID)
    image = torch.randn(1, 3, 70, 81)
    with torch.inference_mode():
        assert torch.equal(again.network(image), source.network(image))


def described(path: Path, **fields: object) -> Path:
    """A checkpoint of CamVid's paper network with these fields in its description besides the old ones."""
    names = {"class_set": "camvid", "classes": CAMVID.classes, "palette": CAMVID.palette}
    text = json.dumps({**names, "mean": PAPER.mean, "std": PAPER.std, **fields})
    save_file(untrained(CAMVID).network.state_dict(), path, {"fastscnn": text})
    return path


def test_files_from_before_there_were_variants_are_the_papers(tmp_path: Path) -> None:
    path = described(tmp_path / "old.safetensors")
    assert load(path).network.variant == PAPER
    assert "classifier.conv.weight" in tensors_of(path)


@pytest.mark.parametrize("variant", [{"name": "later", "blur": 3}, "mmseg", {"pooling_kernel": 5}, None])
def test_variants_that_cannot_be_built_are_refused(tmp_path: Path, variant: object) -> None:
    with pytest.raises(ArtifactError, match="variant that cannot be built"):
        load(described(tmp_path / "odd.safetensors", variant=variant))


def test_a_trunk_of_another_variant_does_not_start_a_training(tmp_path: Path) -> None:
    """Tramac's tensors have the paper's shapes, and mean something else."""
    fields = {k: v for k, v in asdict(TRAMAC).items() if k not in ("mean", "std")}
    with pytest.raises(ArtifactError, match="of the variant 'tramac'"):
        tensors_of(described(tmp_path / "weights.safetensors", variant=fields))


@pytest.mark.parametrize("variant", [TRAMAC, MMSEG], ids=["tramac", "mmseg"])
def test_evaluation_upsamples_and_averages_as_the_variant_says(variant: Variant) -> None:
    source = untrained(CITYSCAPES, 2, variant)
    image = np.random.default_rng(0).integers(0, 256, (96, 131, 3), np.uint8)
    planes = torch.from_numpy(((image[..., ::-1] / 255 - source.mean) / source.std).transpose(2, 0, 1)).float()[None]
    with torch.inference_mode():
        logits, mirrored = (source.network(x) for x in (planes, planes.flip(3)))
        aligned = variant is TRAMAC
        full, other = (F.interpolate(t, (96, 131), mode="bilinear", align_corners=aligned) for t in (logits, mirrored))
        made = torch.sigmoid if variant is MMSEG else lambda t: t.softmax(dim=1)
        votes = made(full) + made(other.flip(3))
    assert (Network(source, "cpu")(image) == full.argmax(1)[0].numpy()).mean() > 0.9999
    assert (Network(source, "cpu", flip=True)(image) == votes.argmax(1)[0].numpy()).mean() > 0.9999
