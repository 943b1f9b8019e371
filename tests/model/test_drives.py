"""Which frames are of one drive, and how drives become folds."""

from pathlib import Path

import pytest

from fastscnn.model.classes import CAMVID
from fastscnn.model.datasets import Dataset, Sample
from fastscnn.model.drives import drive_of, drives, folds, listed
from fastscnn.model.labelled.masks import Reading
from fastscnn.runtime import UsageError


def dataset(kind: str, *names: str) -> Dataset:
    samples = tuple(Sample(Path(name).name, Path(f"/x/{name}.png"), Path("/none")) for name in names)
    return Dataset(kind, Reading.of_ids(CAMVID, "CamVid", range(11), [11]), samples)


def test_names_tell_drives() -> None:
    for kind, name, drive in (
        ("CamVid", "0016E5_07959", "0016E5"),
        ("CamVid", "0006R0_f00930", "0006R0"),
        ("CamVid", "Seq05VD_f00000", "Seq05VD"),
        ("Cityscapes", "aachen/aachen_000000_000019", "aachen"),
        ("yard", "drive_03_000017", "drive_03"),
        ("yard", "000017", "000017"),
    ):
        found = dataset(kind, name)
        assert drive_of(found, found.samples[0]) == drive


def test_folds_are_of_about_the_same_size_and_hold_every_drive_once() -> None:
    names = [
        f"{drive}_{frame:03d}"
        for drive, count in zip("abcdef", (9, 7, 5, 4, 2, 1), strict=True)
        for frame in range(count)
    ]
    found = dataset("yard", *names)
    assert drives(found) == {"a": 9, "b": 7, "c": 5, "d": 4, "e": 2, "f": 1}
    assert folds(found, 3) == [("a", "f"), ("b", "e"), ("c", "d")]
    assert folds(found, 99) == [("a",), ("b",), ("c",), ("d",), ("e",), ("f",)]
    assert listed(drives(found)).startswith("a (9), b (7)")
    with pytest.raises(UsageError, match=r"the drives a \(2\), as names tell them, are no cross-validation"):
        folds(dataset("yard", "a_1", "a_2"), 3)
    with pytest.raises(UsageError, match="expected two or more"):
        folds(found, 1)
