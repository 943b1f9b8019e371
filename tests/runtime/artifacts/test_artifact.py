import dataclasses
from typing import Any

import pytest

from fastscnn import __version__
from fastscnn.model import CAMVID
from fastscnn.runtime import Artifact, ArtifactError

GOOD = Artifact(
    head="cls",
    height=64,
    width=96,
    batch=1,
    input="uint8",
    precision="fp32",
    classes=CAMVID.classes,
    palette=CAMVID.palette,
    class_set="camvid",
    mean=(0.5, 0.5, 0.5),
    std=(0.2, 0.2, 0.2),
    logits_height=8,
    logits_width=12,
    checkpoint="random",
    version=__version__,
)


def test_metadata_round_trip() -> None:
    assert Artifact.from_metadata(GOOD.to_metadata(), "x") == GOOD


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("head", "argmax", "head is 'argmax'"),
        ("precision", "int4", "precision"),
        ("input", "rgb", "input"),
        ("height", 0, "whole number"),
        ("width", "96", "whole number"),
        ("batch", True, "whole number"),
        ("classes", ("one",), "classes is .* 2 to 255 names"),
        ("palette", ((0, 0, 256),) * 11, "palette"),
        ("palette", ((0, 0),) * 11, "palette"),
        ("std", (1.0, 0.0, 1.0), "three numbers"),
        ("mean", (1.0,), "three numbers"),
        ("mean", ("a", "b", "c"), "three numbers"),
        ("classes", None, "classes"),
        ("classes", ("a", "b"), "2 classes and 11 palette colours"),
        ("palette", 7, "palette"),
        ("align_corners", 1, "true or false"),
        ("probability", "argmax", "one of softmax, sigmoid"),
    ],
)
def test_fields_that_no_exporter_writes_are_refused(field: str, value: Any, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        dataclasses.replace(GOOD, **{field: value})
    with pytest.raises(ArtifactError):
        Artifact.from_metadata({**GOOD.to_metadata(), f"fastscnn.{field}": "{not json"}, "x")


def test_files_from_before_there_was_a_choice_are_read() -> None:
    chosen = ("fastscnn.align_corners", "fastscnn.probability")
    old = {key: text for key, text in GOOD.to_metadata().items() if key not in chosen}
    assert Artifact.from_metadata(old, "x") == GOOD
    aligned = dataclasses.replace(GOOD, align_corners=True, probability="sigmoid")
    assert Artifact.from_metadata(aligned.to_metadata(), "x") == aligned
    with pytest.raises(ArtifactError, match="without width"):
        Artifact.from_metadata({key: text for key, text in old.items() if key != "fastscnn.width"}, "x")
    with pytest.raises(ArtifactError, match="without this project's description"):
        Artifact.from_metadata({"producer": "x"}, "x")
