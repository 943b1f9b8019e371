"""The table of capabilities, held against the names of the real bindings."""

from collections.abc import Callable
from typing import Any

import pytest

from fastscnn.export.tensorrt.capabilities import IGNORED_BY_RTX, NAMES_OF, RTX_TARGETS, capabilities, refused_target
from fastscnn.runtime import DeviceError
from fastscnn.runtime.artifacts.tensorrt_binding import Binding

Surface = Callable[[str], dict[str, Any]]
RECORDED = ["8.6.0", "10.3.0", "10.13.3.9", "10.16.1.11", "11.4.0.106", "rtx-1.7.1"]


def binding(version: str) -> Binding:
    flavour, _, number = version.rpartition("-")
    return Binding(flavour or "tensorrt", number, None)


@pytest.mark.parametrize("version", RECORDED)
@pytest.mark.parametrize("capability", NAMES_OF)
def test_a_capability_is_there_exactly_where_its_names_are(surface: Surface, version: str, capability: str) -> None:
    names = surface(version)["names"]
    there = []
    for name in NAMES_OF[capability]:
        kind, member = name.split(".")
        there.append(member in names.get(kind, []))
    assert len(set(there)) == 1, f"{version} has only some of {NAMES_OF[capability]}"
    has = getattr(capabilities(binding(version)), capability)
    if version.startswith("rtx") and capability in IGNORED_BY_RTX:
        assert there[0] and not has
    else:
        assert has == there[0]


def test_targets_are_those_of_the_binding(surface: Surface) -> None:
    known = {name.lower() for name in surface("rtx-1.7.1")["names"]["ComputeCapability"]}
    assert set(RTX_TARGETS) == known - {"none", "current"}


@pytest.mark.parametrize(
    ("flavour", "version", "message"),
    [
        ("tensorrt", "8.4.1.5", "is too old; expected 8.5 to 11.x"),
        ("tensorrt", "12.0.0", "newer than this program; expected 8.5 to 11.x"),
        ("rtx", "2.0.0", "expected 1.x"),
        ("tensorrt", "dev", "expected numbers such as 10.3.0"),
    ],
)
def test_unknown_versions_are_refused(flavour: str, version: str, message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        capabilities(Binding(flavour, version, None))


def test_jetpack_5_has_neither_levels_nor_version_compatible_engines() -> None:
    can = capabilities(Binding("tensorrt", "8.5.2.2", None))
    assert not can.version_compatible
    assert not can.optimization_level
    assert can.timing_cache and can.dla and can.fp16_flag
    assert not can.strong_typing


@pytest.mark.parametrize(
    ("target", "why"), [("sm87", "Orin"), ("sm90", "Hopper"), ("sm110", "Thor"), ("sm70", "knows sm75")]
)
def test_targets_without_rtx_are_refused_with_the_reason(target: str, why: str) -> None:
    assert why in (refused_target(target) or "")
    assert refused_target("sm86") is None
