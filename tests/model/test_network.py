import pytest
import torch
from torch.nn import functional as F

from fastscnn.model import CAMVID, CITYSCAPES, FastSCNN
from fastscnn.model.network import DSConv, WithAuxiliaryHeads


def test_parameters_as_in_the_table() -> None:
    count = sum(p.numel() for p in FastSCNN(19).parameters())
    assert abs(count / 1.138e6 - 1) <= 0.005


@pytest.mark.parametrize("size", [(64, 64), (65, 100), (96, 97), (333, 517), (360, 480), (1024, 2048)])
def test_any_resolution_gives_logits_at_an_eighth(size: tuple[int, int]) -> None:
    with torch.inference_mode():
        logits = FastSCNN(11).eval()(torch.zeros(1, 3, *size))
    assert logits.shape == (1, 11, -(-size[0] // 8), -(-size[1] // 8))


def test_layer_sizes_follow_the_table() -> None:
    """Input sizes, channels, repeats and strides, read off the paper."""
    network = FastSCNN(19).eval()
    seen: dict[str, tuple[int, ...]] = {}
    watched = [
        "learning_to_downsample.conv",
        "learning_to_downsample.dsconv1",
        "learning_to_downsample.dsconv2",
        "global_feature_extractor.bottleneck1",
        "global_feature_extractor.bottleneck2",
        "global_feature_extractor.bottleneck3",
        "global_feature_extractor.pyramid_pooling",
        "feature_fusion",
        "classifier.dsconv2",
        "classifier.conv",
    ]
    for name in watched:
        network.get_submodule(name).register_forward_hook(
            lambda m, i, o, name=name: seen.update({name: tuple(o.shape[1:])})
        )
    with torch.inference_mode():
        network(torch.zeros(1, 3, 256, 512))  # a quarter of the paper's resolution
    assert list(seen.values()) == [
        (32, 128, 256),
        (48, 64, 128),
        (64, 32, 64),
        (64, 16, 32),
        (96, 8, 16),
        (128, 8, 16),
        (128, 8, 16),
        (128, 32, 64),
        (128, 32, 64),
        (19, 32, 64),
    ]
    assert [len(network.get_submodule(f"global_feature_extractor.bottleneck{i}")) for i in (1, 2, 3)] == [3, 3, 3]
    assert network.feature_fusion.low_depthwise.conv.dilation == (4, 4)
    for bottleneck, channels in ((1, 64), (2, 96), (3, 128)):
        assert (
            network.get_submodule(f"global_feature_extractor.bottleneck{bottleneck}.1").expand.conv.out_channels
            == 6 * channels
        )


def test_no_nonlinearity_between_depthwise_and_pointwise() -> None:
    """A linear map followed by ReLU: before the last ReLU, doubling the input doubles the result."""
    block = DSConv(8, 4).eval()
    block.pointwise.relu = torch.nn.Identity()
    x = torch.randn(1, 8, 6, 6)
    assert torch.allclose(block(2 * x), 2 * block(x), atol=1e-5)


def test_auxiliary_heads_exist_in_training_only() -> None:
    network = FastSCNN(11)
    training = WithAuxiliaryHeads(network)
    logits = training(torch.randn(2, 3, 64, 96))
    assert [tuple(t.shape) for t in logits] == [(2, 11, 8, 12), (2, 11, 8, 12), (2, 11, 2, 3)]
    assert not any("auxiliary" in name for name in network.state_dict())
    image = torch.randn(2, 3, 64, 96)
    training.eval()
    with torch.inference_mode():
        assert torch.equal(training(image)[0], network(image))


def test_gradients_reach_every_parameter() -> None:
    training = WithAuxiliaryHeads(FastSCNN(5))
    sum(
        F.cross_entropy(t, torch.zeros(t.shape[0], *t.shape[2:], dtype=torch.long))
        for t in training(torch.randn(2, 3, 64, 64))
    ).backward()  # type: ignore[union-attr]
    assert [name for name, p in training.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("classes", [0, 1, 256])
def test_class_counts_that_labels_cannot_hold_are_refused(classes: int) -> None:
    with pytest.raises(ValueError, match="2 to 255"):
        FastSCNN(classes)


def test_class_sets() -> None:
    assert (len(CITYSCAPES), len(CAMVID)) == (19, 11)
    for known in (CITYSCAPES, CAMVID):
        assert len(set(known.classes)) == len(known.palette) == len(set(known.palette)) == len(known)
    assert CITYSCAPES.classes[0] == "road"
    assert CITYSCAPES.palette[13] == (0, 0, 142)  # car
    assert CAMVID.classes[3] == "road"
