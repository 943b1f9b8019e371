"""How pixels become a foreign network's input: found in the graph, told by the metadata or the options, never guessed."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from foreign_networks import HEIGHT, MEAN, STD, TOLD, WIDTH, Foreign, Net, normalised, up
from torch import Tensor, nn

from fastscnn.export.adopt import adopt
from fastscnn.runtime import Segmenter, UsageError

MEANS, STDS = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)


class Within(nn.Module):
    """A network with some of its preparation inside."""

    def __init__(self, before: Any) -> None:
        super().__init__()
        self.net, self.before = Net(lambda z, x: up(z, x).argmax(1)), before
        self.eval()

    def forward(self, image: Tensor) -> Any:
        return self.net(self.before(image))


def expected(made: Any, frame: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return made.net.net(normalised(frame))[0].numpy()


def segmented(path: Path, frame: np.ndarray) -> np.ndarray:
    with Segmenter(path, "cpu") as segmenter:
        return np.asarray(segmenter(frame).labels)


PLANES, ROWS = torch.zeros(1, 3, HEIGHT, WIDTH), torch.zeros(1, HEIGHT, WIDTH, 3)
INSIDE = {
    "pixels of RGB": (lambda x: (x / 255 - MEANS) / STDS, PLANES, {}),
    "pixels, means of 255": (lambda x: (x - 255 * MEANS) * (1 / (255 * STDS)), PLANES, {}),
    "bytes": (lambda x: (x.float() / 255 - MEANS) / STDS, PLANES.byte(), {}),
    "rows of bytes": (lambda x: (x.permute(0, 3, 1, 2).float() / 255 - MEANS) / STDS, ROWS.byte(), {}),
    "rows of floats": (lambda x: ((x / 255 - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2), ROWS, {}),
    "BGR that it turns": (lambda x: (x[:, [2, 1, 0]] / 255 - MEANS) / STDS, PLANES, {}),
    "BGR that it flips": (lambda x: (x.flip(1) / 255 - MEANS) / STDS, PLANES, {}),
    "0 to 1, told so": (lambda x: (x - MEANS) / STDS, PLANES, {"scale": 1 / 255}),
    "rows, and nothing inside": (lambda x: x.permute(0, 3, 1, 2), ROWS, TOLD),
    "BGR outside": (lambda x: x.flip(1), PLANES, {"mean": MEAN[::-1], "std": STD[::-1], "order": "bgr"}),
}


@pytest.mark.parametrize("name", INSIDE)
def test_what_the_graph_does_itself_is_kept(
    name: str, foreign: Foreign, tmp_path: Path, picture: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    before, image, told = INSIDE[name]
    made = foreign(Within(before), image=image)
    with caplog.at_level("INFO"):
        result = adopt(made.path, tmp_path / "ours.onnx", **told)
    assert np.mean(segmented(result.path, picture) == expected(made, picture)) > 0.9995
    assert ("as the options say" if told else "the rest is inside the graph") in caplog.text
    assert result.artifact.order == ("bgr" if "BGR" in name else "rgb")
    first = [node.op_type for node in onnx.load(result.path).graph.node][:4]
    assert first == ["Cast", "Transpose", "Sub", "Conv"]  # all of it went into the weights and one subtraction


def test_a_picture_that_several_nodes_take(foreign: Foreign, tmp_path: Path, picture: np.ndarray) -> None:
    """Into all weights where they are convolutions; else arithmetic of its own."""

    class Two(Net):
        def __init__(self, other: bool) -> None:
            super().__init__(lambda z, x: up(z, x).argmax(1))
            self.other, self.second = other, nn.Conv2d(3, 5, 3, 8, 1, bias=False)

        def logits(self, image: Tensor) -> Tensor:
            second = self.second(image) if not self.other else nn.functional.avg_pool2d(image, 8)[:, :1]
            return super().logits(image) + second

    for other in (False, True):
        made = foreign(Two(other))
        result = adopt(made.path, tmp_path / "ours.onnx", **TOLD)
        assert np.mean(segmented(result.path, picture) == made.labels(picture)) > 0.9995
        names = {node.name for node in onnx.load(result.path).graph.node}
        assert ("input.scale" in names) is other


def test_ultralytics_metadata(foreign: Foreign, tmp_path: Path, picture: np.ndarray) -> None:
    metadata = {
        "author": "Ultralytics",
        "task": "semantic",
        "names": "{0: 'road', 1: 'kerb', 2: 'grass', 3: 'sky', 4: 'tree'}",
        "license": "AGPL-3.0 License (https://ultralytics.com/license)",
        "description": "Ultralytics YOLO26n-sem model ",
    }
    made = foreign(Net(lambda z, x: up(z, x).argmax(1).to(torch.uint8)), metadata=metadata)
    result = adopt(made.path, tmp_path / "ours.onnx")
    a = result.artifact
    assert a.classes == ("road", "kerb", "grass", "sky", "tree")
    assert len(set(a.palette)) == 5
    assert (a.mean, a.std, a.licence) == ((0, 0, 0), (1, 1, 1), metadata["license"])
    assert a.network == "Ultralytics YOLO26n-sem model"
    with torch.inference_mode():
        image = normalised(picture) * STDS + MEANS
        labels = made.net(image)[0].numpy()
    assert np.mean(segmented(result.path, picture) == labels) > 0.9995


@pytest.mark.parametrize(
    ("before", "options", "message"),
    [
        (None, {}, "does not tell how its pixels are normalised"),
        (lambda x: (x - MEANS) / STDS, {}, "it seems to take pixels of 0 to 1"),
        (
            None,
            {"mean": [123.7, 116.3, 103.5], "std": [58.4, 57.1, 57.4]},
            "are of pixels from 0 to 255; say --scale 1",
        ),
        (None, {"mean": MEAN, "normalise": False}, "one or the other"),
        (None, {"mean": [0.5, 0.5]}, "mean has 2 numbers"),
        (None, {"std": [0.0]}, "expected numbers above 0"),
    ],
)
def test_it_asks(before: Any, options: dict[str, Any], message: str, foreign: Foreign, tmp_path: Path) -> None:
    made = foreign(Within(before or (lambda x: x)))
    with pytest.raises(UsageError, match=message):
        adopt(made.path, tmp_path / "ours.onnx", **options)
    assert not list(tmp_path.iterdir())


def test_pixels_as_they_are(foreign: Foreign, tmp_path: Path, picture: np.ndarray) -> None:
    made = foreign(Within(lambda x: x / 100))
    result = adopt(made.path, tmp_path / "ours.onnx", normalise=False)
    with torch.inference_mode():
        labels = made.net(torch.from_numpy(picture[..., ::-1].copy()).permute(2, 0, 1)[None].float())[0].numpy()
    assert np.mean(segmented(result.path, picture) == labels) > 0.9995


def test_names_of_classes(foreign: Foreign, tmp_path: Path) -> None:
    made = foreign(Net(lambda z, x: up(z, x).argmax(1)))
    listed = tmp_path / "five.txt"
    listed.write_text("road 128 64 128\nkerb, 1, 2, 3\n\ntraffic light 9 9 9\nsky\npole\n")

    def named(classes: str | Path | None) -> Any:
        return adopt(made.path, tmp_path / "ours.onnx", classes=classes, **TOLD).artifact

    assert named(None).classes == ("0", "1", "2", "3", "4")
    a = named(listed)
    assert a.classes == ("road", "kerb", "traffic light", "sky", "pole")
    assert a.palette[:3] == ((128, 64, 128), (1, 2, 3), (9, 9, 9))
    assert a.class_set == "five"
    with pytest.raises(UsageError, match=r"names 19 classes and .* has 5"):
        named("cityscapes")
    written = tmp_path / "classes.yaml"
    written.write_text("name: yard\nclasses: {a: [1, 0, 0], b: [2, 0, 0], c: [3, 0, 0], d: [4, 0, 0], e: [5, 0, 0]}\n")
    assert (named(written).classes, named(written).class_set) == (("a", "b", "c", "d", "e"), "yard")
