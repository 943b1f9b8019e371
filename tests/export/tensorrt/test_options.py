"""Options are checked when they are made, and again for the TensorRT that is installed."""

from pathlib import Path
from typing import Any

import pytest

from fastscnn.export.tensorrt import BuildOptions
from fastscnn.export.tensorrt.capabilities import RTX_DEFAULT_TARGETS, capabilities
from fastscnn.export.tensorrt.cli import main
from fastscnn.export.tensorrt.engine_builder import strongly_typed
from fastscnn.export.tensorrt.options import check_supported, size, targets
from fastscnn.runtime import DeviceError, UsageError
from fastscnn.runtime.artifacts.gpu import Gpu
from fastscnn.runtime.artifacts.tensorrt_binding import Binding

RTX = Binding("rtx", "1.7.1.116", None)
OLD = Binding("tensorrt", "8.5.2", None)
NEW = Binding("tensorrt", "10.3.0", None)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"precision": "fp61"}, "Did you mean 'fp16'"),
        ({"precision": "int8"}, "'int8' is unknown; expected one of fp16, fp32"),
        ({"flavour": "trt"}, "expected one of tensorrt, rtx"),
        ({"workspace": 1000}, "expected at least 1MiB"),
        ({"opt_level": 6}, "expected 0 to 5"),
        ({"dla": -1}, "DLA core -1"),
        ({"dla": 0, "precision": "fp32"}, "does not compute in FP32"),
        ({"targets": ("8.6",)}, "'8.6' is no compute capability; expected one such as sm86"),
    ],
)
def test_wrong_values_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        BuildOptions(**wrong)


def test_sizes() -> None:
    assert [size(text) for text in ("1GiB", "512MiB", "8 KiB", "4096")] == [1 << 30, 1 << 29, 8192, 4096]
    for wrong in ("1GB", "-1", "1.5GiB", ""):
        with pytest.raises(UsageError, match="is not a size"):
            size(wrong)


@pytest.mark.parametrize(
    ("binding", "asked", "flag"),
    [
        (RTX, {"dla": 0}, "--dla"),
        (RTX, {"timing_cache": Path("t")}, "--timing-cache"),
        (RTX, {"version_compatible": True}, "--version-compatible"),
        (OLD, {"version_compatible": True}, "--version-compatible"),
        (OLD, {"opt_level": 3}, "--opt-level"),
        (NEW, {"targets": ("sm86",)}, "--target"),
    ],
)
def test_what_the_installed_version_lacks_is_refused(binding: Binding, asked: dict[str, Any], flag: str) -> None:
    with pytest.raises(UsageError, match=flag):
        check_supported(BuildOptions(**asked), binding, capabilities(binding))


def test_the_dla_decides_about_strong_typing() -> None:
    for version, plain, dla in (("8.6.0", False, False), ("10.3.0", True, False), ("11.4.0", True, True)):
        can = capabilities(Binding("tensorrt", version, None))
        assert strongly_typed(BuildOptions(), can) == plain
        assert strongly_typed(BuildOptions(dla=0), can) == dla


def test_help_tells_no_default_where_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["build", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "(default: fp16)" in shown and "(default: 1GiB)" in shown
    for nothing in ("None", "()", "False"):
        assert f"(default: {nothing})" not in shown


def test_a_report_does_not_replace_what_it_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "m.onnx"
    for name, purpose in (("m.onnx", "the model"), ("m.plan", "the engine"), ("m.plan.json", "its description")):
        assert main(["build", str(model), "--json", str(tmp_path / name)]) == 2
        assert f"would be both {purpose} and the report" in capsys.readouterr().err


def test_targets() -> None:
    can = capabilities(RTX)
    ada, orin = Gpu("RTX 4070", "sm89", 1), Gpu("Orin", "sm87", 1)
    assert targets(BuildOptions(), can, None) == RTX_DEFAULT_TARGETS
    assert targets(BuildOptions(), can, ada) == ("sm89",)
    some = BuildOptions(targets=("sm120", "sm86", "sm86"))
    assert targets(some, can, orin) == ("sm86", "sm120")
    assert targets(BuildOptions(), capabilities(NEW), orin) == ("sm87",)
    with pytest.raises(DeviceError, match="does not build for sm87: Orin"):
        targets(BuildOptions(), can, orin)
    with pytest.raises(DeviceError, match="only FP16 matrix products"):
        targets(BuildOptions(precision="fp32", targets=("sm75",)), can, None)
