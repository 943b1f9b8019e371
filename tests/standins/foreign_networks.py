"""Small networks as others train them, exported by PyTorch's own exporter."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEIGHT, WIDTH = 96, 160
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TOLD = {"mean": MEAN, "std": STD}

End = Callable[[Tensor, Tensor], Any]  # logits, image → what the graph gives
Foreign = Callable[..., "Made"]


class Net(nn.Module):
    """Normalised RGB → logits at 1/`ratio`, with blobs of classes that follow the picture's colours."""

    def __init__(self, end: End, ratio: int = 8, classes: int = 5, bgr: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.end, self.ratio = end, ratio
        self.stem = nn.Conv2d(3, 12, 3, 2, 1)
        self.body = nn.Sequential(nn.BatchNorm2d(12), nn.SiLU(), nn.Conv2d(12, 16, 3, 1, 1), nn.ReLU())
        self.last = nn.Conv2d(16, classes, 1)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.35
        self.eval()

    def logits(self, image: Tensor) -> Tensor:
        features = F.avg_pool2d(self.body(self.stem(image)), self.ratio // 2, ceil_mode=True)
        return 4 * self.last(features)

    def forward(self, image: Tensor) -> Any:
        return self.end(self.logits(image), image)


def up(logits: Tensor, image: Tensor, align: bool = False) -> Tensor:
    return F.interpolate(logits, image.shape[-2:], mode="bilinear", align_corners=align)


class Made:
    """A file, and the network behind it."""

    def __init__(self, path: Path, net: nn.Module) -> None:
        self.path, self.net = path, net

    def labels(self, frame: np.ndarray, align: bool = False) -> np.ndarray:
        """What PyTorch says of a BGR frame."""
        with torch.inference_mode():
            image = normalised(frame)
            return up(self.net.logits(image), image, align).argmax(1)[0].numpy()


def normalised(frame: np.ndarray) -> Tensor:
    rgb = torch.from_numpy(frame[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
    return (rgb - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)


class Ready(nn.Module):
    """A network that takes pixels from 0 to 255: nothing has to be told."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net(lambda logits, image: up(logits, image).argmax(1))
        self.eval()

    def forward(self, pixels: Tensor) -> Any:
        mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (MEAN, STD))
        return self.net((pixels / 255 - mean) / std)


def write(
    path: Path, net: nn.Module, image: Tensor, outputs: tuple[str, ...] = ("out",), opset: int = 17, dynamic: Any = None
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter tells that a newer one exists, and what it traces
        torch.onnx.export(
            net,
            (image,),
            str(path),
            dynamo=False,
            opset_version=opset,
            input_names=["input.1"],  # what PyTorch calls it by itself
            output_names=list(outputs),
            dynamic_axes=dynamic,
        )
