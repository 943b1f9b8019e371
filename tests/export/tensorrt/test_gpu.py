"""What only a GPU can show, with whichever flavour is installed there."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fastscnn.export.tensorrt import BuildOptions, build, verify
from fastscnn.export.tensorrt.report import inspect
from fastscnn.runtime import DeviceError
from fastscnn.runtime.artifacts import tensorrt_binding
from fastscnn.runtime.artifacts.gpu import first

pytestmark = pytest.mark.gpu
Exported = Callable[..., Path]


@pytest.fixture(autouse=True)
def device() -> None:
    if first() is None:
        pytest.skip("no GPU")
    pytest.importorskip("pycuda")
    try:
        tensorrt_binding.find()
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize("head", ["cls", "prob", "logits"])
@pytest.mark.parametrize("inside", [False, True])
def test_an_engine_computes_what_its_source_computes(
    exported: Exported, tmp_path: Path, head: str, precision: str, inside: bool
) -> None:
    model = exported(head)
    built = build(model, tmp_path / "e.plan", BuildOptions(precision=precision, head_in_engine=inside))
    description, reasons = inspect(built.path)
    assert reasons == []
    assert (description.precision, description.precision_from) == (precision, "inspector")
    assert description.memory
    result = verify(built.path, onnx=model)
    assert result.comparisons[0].side == "the engine"
    result.expect_success(built.path)


def test_full_resolution_in_fp16(exported: Exported, tmp_path: Path) -> None:
    model = exported("cls", (1024, 2048))
    built = build(model, tmp_path / "e.plan")
    assert built.description.precision == "fp16"
    verify(built.path, onnx=model, count=2).expect_success(built.path)
