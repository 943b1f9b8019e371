"""Neighbours of a video stay on one side, every class is trained on, and the same seed gives the same split."""

import pytest

from fastscnn.model.annotations.split import sequence_of, split


def divided(
    names: list[str], val: float = 0.25, test: float = 0.0, seed: int = 0, rare: str = ""
) -> tuple[dict[str, str], str]:
    holds = {name: frozenset({0, 1} if name == rare else {0}) for name in names}
    return split(names, holds, (val, test), seed)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("drive_03_000017", ("drive_03_", 17)),
        ("IMG_2031", ("IMG_", 2031)),
        ("0001TP_006690", ("0001TP_", 6690)),
        ("ulm_000000_000019_leftImg8bit", ("ulm_000000_", 19)),
        ("f1_jpg.rf.0123456789abcdef", ("f", 1)),
        ("yard", ("yard", -1)),
    ],
)
def test_what_a_name_tells(name: str, expected: tuple[str, int]) -> None:
    assert sequence_of(name) == expected


def test_whole_sequences_go_to_one_side() -> None:
    names = [f"drive{drive}_{frame:04d}" for drive in "abcdefgh" for frame in range(10)]
    for seed in range(5):
        found, how = divided(names, 0.25, 0.125, seed)
        assert how.startswith("by sequence (8")
        sides = {drive: {found[n] for n in names if n.startswith(f"drive{drive}")} for drive in "abcdefgh"}
        assert all(len(side) == 1 for side in sides.values())
        assert [list(found.values()).count(s) for s in ("train", "val", "test")] == [50, 20, 10]
        assert (found, how) == divided(names, 0.25, 0.125, seed)
    assert divided(names, seed=1)[0] != divided(names, seed=2)[0]


def test_one_video_is_cut_into_stretches() -> None:
    names = [f"frame_{index:05d}" for index in range(40)]
    found, how = divided(names)
    assert how == "one stretch of the sequence to each"
    sides = [found[name] for name in names]
    assert sides.count("val") == 10
    assert sum(a != b for a, b in zip(sides, sides[1:] + sides[:1], strict=True)) == 2, (
        "they meet twice, seen as a ring"
    )


def test_names_that_tell_nothing_are_shuffled() -> None:
    names = [f"{index * 7919 % 104729:x}-yard-{'abcdefghij'[index % 10]}" for index in range(40)]
    found, how = divided(names)
    assert how == "at random" and list(found.values()).count("val") == 10


def test_a_rare_class_is_trained_on() -> None:
    names = [f"drive{drive}_{frame:04d}" for drive in "abcd" for frame in range(5)]
    for rare in ("drivea_0003", "drived_0000"):
        for seed in range(6):
            assert divided(names, rare=rare, seed=seed)[0][rare] == "train"


def test_very_small_and_very_unequal_ones() -> None:
    assert sorted(divided(["a", "b"])[0].values()) == ["train", "val"]
    assert sorted(divided(["f1", "f2", "f3"], 0.2)[0].values()) == ["train", "train", "val"]
    names = [f"long_{i:03d}" for i in range(95)] + [f"short_{i}" for i in range(5)]
    sides = list(divided(names, 0.2)[0].values())
    assert sides.count("train") > sides.count("val") > 0
