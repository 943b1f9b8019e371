"""Both nodes' models, of the same weights: `python -m fastscnn.benchmarks.ros.models FOLDER 480x640 …`, where PyTorch is."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from ...export import export
from ...runtime.commands.command import resolution


def plain(path: Path, height: int, width: int) -> None:
    """What `torch.onnx.export` of the whole network gives: normalised NCHW float32 in, logits of every pixel out."""
    export("logits", (height, width), output=path, input="float")
    model = onnx.load(path)
    (output,) = model.graph.output
    shape = [dimension.dim_value for dimension in output.type.tensor_type.shape.dim]
    scales = helper.make_tensor("scales", TensorProto.FLOAT, [4], [1.0, 1.0, height / shape[2], width / shape[3]])
    model.graph.initializer.append(scales)
    resize = helper.make_node("Resize", [output.name, "", "scales"], ["pixels"], mode="linear")
    model.graph.node.append(resize)
    model.graph.output.remove(output)
    model.graph.output.append(
        helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [shape[0], shape[1], height, width])
    )
    onnx.checker.check_model(model)
    onnx.save(model, path)


def main() -> int:
    folder = Path(sys.argv[1])
    for text in sys.argv[2:]:
        height, width = resolution(text)
        export("cls", (height, width), output=folder / f"ours-{text}.onnx")
        plain(folder / f"plain-{text}.onnx", height, width)
    return 0


if __name__ == "__main__":
    sys.exit(main())
