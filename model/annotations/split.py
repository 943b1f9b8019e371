"""Which pictures train and which score: whole sequences, because neighbours of a video are nearly the same picture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from ..drives import sequence_of

SPLITS = ("train", "val", "test")
_TRIES = 64  # draws, of which the first that leaves each class in train wins
_SEQUENCE = 3  # pictures that share all but their number


def split(
    names: Sequence[str], holds: Mapping[str, frozenset[int]], shares: tuple[float, float], seed: int
) -> tuple[dict[str, str], str]:
    """Split by name, and in words how.

    Args:
        names: of the pictures, two or more.
        holds: the classes of each.
        shares: of val and test, from 0 to 1; each gets a picture at least where its share is not 0.
    """
    sequences: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names, key=sequence_of):
        sequences[sequence_of(name)[0]].append(name)
    long = [key for key, members in sequences.items() if len(members) >= _SEQUENCE]
    together = sum(len(sequences[key]) for key in long) > len(names) / 2
    wanted = {
        split: max(1, round(share * len(names))) for split, share in zip(SPLITS[1:], shares, strict=True) if share
    }
    everything = frozenset().union(*holds.values())
    best: tuple[tuple[int, float], dict[str, str], str] | None = None
    for attempt in range(_TRIES):
        rng = np.random.default_rng((seed, attempt))
        if not together:
            found, how = _shuffled(list(names), wanted, rng), "at random"
        elif len(sequences) > len(wanted):
            found, how = _by_sequence(sequences, wanted, rng), f"by sequence ({len(sequences)} of them)"
        else:
            found, how = _by_block(sequences, wanted, rng), "one stretch of the sequence to each"
        trained = frozenset().union(*(holds[n] for n in names if found[n] == "train"))
        sizes = sum(abs(sum(s == split for s in found.values()) - count) for split, count in wanted.items())
        if sum(s == "train" for s in found.values()) == 0:
            continue
        score = len(everything - trained), sizes / len(names)
        if best is None or score < best[0]:
            best = score, found, how
        if score[0] == 0 and score[1] < 0.1:
            break
    if best is None or (together and best[0][1] > 0.5):  # sequences too unequal: cut them
        found = _by_block(sequences, wanted, np.random.default_rng(seed))
        return found, "one stretch of the sequences to each"
    return best[1], best[2]


def _shuffled(names: list[str], wanted: Mapping[str, int], rng: np.random.Generator) -> dict[str, str]:
    order = [names[i] for i in rng.permutation(len(names))]
    found = dict.fromkeys(order, "train")
    for split, count in wanted.items():
        for name in order[:count]:
            found[name] = split
        order = order[count:]
    return found


def _by_sequence(
    sequences: Mapping[str, list[str]], wanted: Mapping[str, int], rng: np.random.Generator
) -> dict[str, str]:
    """Whole sequences, drawn until a split has what it should, none that would overshoot more than it helps."""
    keys = list(sequences)
    left = [keys[i] for i in rng.permutation(len(keys))]
    found = {name: "train" for members in sequences.values() for name in members}
    for split, count in wanted.items():
        have = 0
        for key in list(left):
            size = len(sequences[key])
            if len(left) > 1 and abs(have + size - count) < abs(have - count):
                have += size
                left.remove(key)
                found.update(dict.fromkeys(sequences[key], split))
        if not have and len(left) > 1:
            key = min(left, key=lambda k: len(sequences[k]))
            left.remove(key)
            found.update(dict.fromkeys(sequences[key], split))
    return found


def _by_block(
    sequences: Mapping[str, list[str]], wanted: Mapping[str, int], rng: np.random.Generator
) -> dict[str, str]:
    """Stretches of neighbours, so that they meet at their ends only."""
    order = [name for members in sequences.values() for name in members]
    start = int(rng.integers(len(order)))
    order = order[start:] + order[:start]
    found = dict.fromkeys(order, "train")
    place = 0
    for split, count in wanted.items():
        found.update(dict.fromkeys(order[place : place + min(count, len(order) - place - 1)], split))
        place += count
    return found
