"""INT8 files, and every variant, through TensorRT: for RTX for real, for the classic one with stand-ins."""

from collections import Counter
from pathlib import Path

import onnx
import pytest

from fastscnn.export import export
from fastscnn.export.quantisation import Quantised, quantise
from fastscnn.export.tensorrt import BuildOptions, build
from fastscnn.export.tensorrt.half import to_half
from fastscnn.model import CITYSCAPES
from fastscnn.model.checkpoint import save, untrained
from fastscnn.model.variant import VARIANTS
from fastscnn.runtime import UsageError

pytest.importorskip("tensorrt_rtx")


def precisions(built: object) -> Counter[str | None]:
    return Counter(layer.precision for layer in built.description.layers for _ in layer.convolutions)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_builds_and_quantises(streets: Path, tmp_path: Path, name: str) -> None:
    """Random weights: no label is worth anything, so none needs to be kept."""
    save(tmp_path / "weights.safetensors", untrained(CITYSCAPES, 1, VARIANTS[name]))
    full = export("cls", (64, 96), tmp_path / "weights.safetensors", output=tmp_path / "full.onnx")
    options = BuildOptions(flavour="rtx", targets=("sm86",))
    built = build(full, tmp_path / "full.plan", options)
    assert (built.description.precision, precisions(built)) == ("fp16", {"fp16": 45})
    made = quantise(full, streets, tmp_path / "int8.onnx", frames=4, least=0)
    assert made.agreement.logits < 0.1, "logits follow all the same"
    built = build(made.path, tmp_path / "int8.plan", options)
    assert (built.description.precision, precisions(built)) == ("int8", {"int8": 43, "fp16": 2})
    (logits,) = (tensor for tensor in built.description.tensors if tensor.output)
    assert (logits.name, logits.dtype) == ("logits", "float16")


def test_what_is_not_quantised_can_stay_fp32(int8: Quantised, tmp_path: Path) -> None:
    options = BuildOptions(flavour="rtx", targets=("sm86",), precision="fp32", head_in_engine=True)
    built = build(int8.path, tmp_path / "e.plan", options)
    assert (built.description.precision, precisions(built)) == ("mixed", {"int8": 43, "fp32": 2})
    with pytest.raises(UsageError, match="quantisers the DLA does not take"):
        build(int8.path, tmp_path / "e.plan", BuildOptions(flavour="rtx", dla=0))


def test_a_prob_head_in_the_engine(streets: Path, tmp_path: Path) -> None:
    """Its ReduceMax has another form in the opset of FP16 scales."""
    full = export("prob", (64, 96), output=tmp_path / "full.onnx")
    made = quantise(full, streets, tmp_path / "int8.onnx", least=0.8)
    converted = onnx.load_from_string(to_half(made.path.read_bytes(), made.artifact, True, "m"))
    onnx.checker.check_model(converted, full_check=True)
    assert {o.version for o in converted.opset_import if o.domain == ""} == {19}, "the first with FP16 scales"
    options = BuildOptions(flavour="rtx", targets=("sm86",), head_in_engine=True)
    built = build(made.path, tmp_path / "e.plan", options)
    assert built.description.precision == "int8"
    assert [t.dtype for t in built.description.tensors] == ["uint8", "float32"]
