"""Parsers that broke on earlier exports compute what ONNX Runtime does; benchmarks/results/parsers.md has all of them."""

import numpy as np
import pytest

from fastscnn.benchmarks.parsers.cli import CASES, PARSERS, Export, Outcome, Parser, as_markdown, exported, main, tried
from fastscnn.benchmarks.tools.cli import Outcome as Touched
from fastscnn.benchmarks.tools.cli import as_markdown as touched_as_markdown

# Each with what it broke on: a constant as first factor; one pixel's row, in six of ten processes; a broadcast; a dimension.
TELLING = [
    parser
    for parser in PARSERS
    if parser.others.name in ("opencv-python-headless-4.8.0.76", "opencv-python-headless-5.0.0.93", "tract-0.23.9")
    or parser.kind == "ncnn"
]
CASE = ("float", "logits", "fp32")
SIZE = (96, 160)


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Export:
    return exported(tmp_path_factory.mktemp("parsers"), CASE, SIZE)


@pytest.mark.parametrize("parser", TELLING, ids=lambda parser: parser.others.name)
def test_parsers_take_the_export(export: Export, parser: Parser) -> None:
    if not parser.others.ready:
        pytest.skip("not installed; make others")
    (outcome,) = tried(parser, {CASE: export}, processes=4 if parser.kind == "opencv" else 1)
    assert outcome.good, outcome
    assert outcome.difference is not None and outcome.difference < 1e-5


def test_a_parser_that_is_wrong_or_dies_is_told(export: Export) -> None:
    model, image, expected = export
    parser = next(one for one in TELLING if one.others.ready) if any(one.others.ready for one in TELLING) else None
    if parser is None:
        pytest.skip("not installed; make others")
    (wrong,) = tried(parser, {CASE: (model, image, np.roll(expected, 1, axis=1))}, processes=1)
    assert not wrong.good and wrong.labels is not None and wrong.labels < 0.5
    others = {("float", "prob", "fp32"): (image, image, expected), CASE: export}
    refused, taken = tried(parser, others, processes=1)
    assert refused.labels is None and refused.failed and taken.good


def test_the_tables_name_what_is_wrong() -> None:
    class Options:
        command, res, processes = "python -m fastscnn.benchmarks.parsers", (96, 160), 2

    outcomes = [Outcome("tract", "1", case, 1.0, 2e-7) for case in CASES[:-2]]
    outcomes += [Outcome("tract", "1", CASES[-2], 0.5, 0.3), Outcome("tract", "1", CASES[-1], failed="dies of SIGSEGV")]
    text = as_markdown(outcomes, "none", Options)  # type: ignore[arg-type]
    assert "| 100%, 2e-07 |" in text and "**50.00%, 3e-01**" in text and "1. dies of SIGSEGV" in text
    assert f"{len(CASES) - 2} of {len(CASES)} are as they should be" in text
    text = touched_as_markdown(
        [
            Touched("slim", "cls-int8", "cpu", "equal"),
            Touched("slim", "cls-fp32", "cpu", "97.1000%"),
            Touched("poly", "cls-int8", "cpu", "touched-cls-int8.onnx has lost it", "equal"),
            Touched("poly", "cls-fp32", "cpu", "touched-cls-fp32.onnx has lost it", "equal"),
        ],
        "it",
        "96x160",
    )
    assert "| slim | equal | 97.1000% |" in text
    assert "| poly | refused [1], equal once described | refused [1], equal once described |" in text
    assert "3 give the untouched file's labels, 0 are refused with a reason, and 1 give other labels" in text


def test_some_parsers_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--parsers", "nobody"])
    assert "tract-0.23.9" in capsys.readouterr().err
