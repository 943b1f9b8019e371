"""The decode's own benchmark, as a user runs it."""

import re
from pathlib import Path

import pytest

from fastscnn.benchmarks import decode
from fastscnn.runtime.decode import native


def test_both_ways_in_every_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if why := native.found()[1]:
        pytest.skip(why)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    options = ["--res", "64x96", "128x128", "--rounds", "2", "--threads", "2", "--device", "cpu", "-o", str(tmp_path)]
    assert decode.main(options) == 0
    page = (tmp_path / "decode.md").read_text()
    number = r" \d+\.\d+ \|"
    for row in ("labels, 64x96", "labels, 128x128", "probabilities, 64x96", "probabilities, 128x128"):
        assert re.search(rf"^\| {row} \|{number * 3 * len(decode.SETTINGS)}$", page, re.MULTILINE), row
    assert "the network runs on ONNX Runtime CPU, 2 threads" in page


def test_a_way_that_is_unknown_is_wrong_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(native.CHOICE, "fast")
    assert decode.main(["--res", "64x96", "--rounds", "1", "--device", "cpu", "-o", str(tmp_path)]) == 2
