"""Files of others, as a test asks for them."""

from typing import Any

import numpy as np
import pytest
import torch
from foreign_networks import HEIGHT, WIDTH, End, Foreign, Made, Net, up, write
from torch import Tensor, nn

from fastscnn.model.street import drawn


@pytest.fixture(scope="session")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Foreign:
    """Export `Net` with an end, or any module."""
    folder = tmp_path_factory.mktemp("foreign")
    number = iter(range(1000))

    def make(
        end: End | nn.Module,
        size: tuple[int, int] = (HEIGHT, WIDTH),
        batch: int = 1,
        image: Tensor | None = None,
        outputs: tuple[str, ...] = ("out",),
        dynamic: dict[str, dict[int, str]] | None = None,
        opset: int = 17,
        metadata: dict[str, str] | None = None,
        **options: Any,
    ) -> Made:
        net = end if isinstance(end, nn.Module) else Net(end, **options)
        path = folder / f"{next(number)}.onnx"
        image = torch.zeros(batch, 3, *size) if image is None else image
        write(path, net, image, outputs, opset, dynamic)
        if metadata:
            import onnx

            model = onnx.load(path)
            onnx.helper.set_model_props(model, metadata)
            onnx.save(model, path)
        return Made(path, net)

    return make


@pytest.fixture(scope="session")
def argmax(foreign: Foreign) -> Made:
    """The usual: a Resize by 8 and an arg-max."""
    return foreign(lambda logits, image: up(logits, image).argmax(1))


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    return drawn(HEIGHT, WIDTH, 2)[1]
