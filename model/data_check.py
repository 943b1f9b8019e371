"""`fastscnn-data`: what is missing, broken or mislabelled in a data set, before hours are spent on it."""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..runtime.commands import command
from ..runtime.errors import DeviceError, FastSCNNError, SourceError, UsageError
from .datasets import Dataset, Sample, open_dataset
from .labelled.jpeg import expect_whole
from .labelled.suspicions import Outline, Shift, Twins, fingerprint

log = logging.getLogger(__name__)

_SHOWN = 20  # problems on a terminal; --json has them all


# The first word of other commands of this program → their main; the module that holds them is loaded when one is asked for.
VERBS: dict[str, Callable[[Any], Callable[[Sequence[str]], int]]] = {
    "init": lambda module: module.init,
    "recipe": lambda module: module.recipe,
    "example": lambda module: module.example,
}


@dataclass
class Findings:
    """What a check saw of one split."""

    samples: int
    problems: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)  # those problems that are files which cannot be read
    sizes: Counter[str] = field(default_factory=Counter)
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))  # by train id
    prints: dict[Path, bytes] = field(default_factory=dict)  # of each readable image


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in VERBS:
        from .annotations import commands

        return VERBS[arguments[0]](commands)(arguments[1:])
    parser = command.parser(
        "fastscnn-data",
        "Read every image and label of a data set and say what is wrong with them. Other verbs: init FOLDER makes a data set of "
        "what an annotation tool wrote, recipe FOLDER a recipe that fits one, example a drawn one to try both; each has --help. "
        "A folder of such a name is meant by ./init",
        "fastscnn-data camvid --splits train val --json findings.json",
        "fastscnn-data init field -o yard",
    )
    parser.add_argument(
        "root", type=Path, metavar="FOLDER", help="a data set laid out as Cityscapes, CamVid or one's own"
    )
    parser.add_argument("--splits", nargs="+", default=["train", "val"], metavar="SPLIT", help="which parts to read")
    parser.add_argument("--coarse", action="store_true", help="Cityscapes' coarse labels")
    parser.add_argument("--json", metavar="PATH", help="write the findings; - for stdout")
    return command.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    command.expect_folder(Path(options.json) if options.json not in (None, "-") else None)
    report: dict[str, object] = {}
    problems, twins = 0, Twins()
    absent: list[UsageError] = []
    for split in options.splits:
        try:
            dataset = open_dataset(options.root, split, coarse=options.coarse)
        except UsageError as error:
            absent.append(error)
            report[split] = {"samples": 0, "problems": [str(error)]}
            continue
        findings = check(dataset)
        findings.problems += [
            text for path, digest in findings.prints.items() if (text := twins.add(split, path, digest))
        ]
        findings.problems += as_a_whole(dataset, findings, split)
        problems += len(findings.problems)
        report[split] = _as_dict(dataset, findings)
        if options.json != "-":
            print(_as_text(split, dataset, findings))
    if len(absent) == len(options.splits):
        raise absent[0]
    if options.json:
        command.write_json(options.json, report)
    if absent:
        raise absent[0] if not problems else SourceError(f"{absent[0]} And {problems} problems, listed above")
    if problems:
        raise SourceError(f"{options.root} has {problems} problems, listed above; mend or remove these files")


def check(dataset: Dataset) -> Findings:
    """Read everything once; what is wrong with files, and with the split as far as files tell it."""
    shift = Shift()
    findings = read_all(dataset, shift, jpeg=True)
    findings.problems += _unpaired(dataset)
    if suspicion := shift.suspicion():
        findings.problems.append(suspicion)
    return findings


def read_all(dataset: Dataset, shift: Shift | None = None, *, jpeg: bool = False) -> Findings:
    """On a few threads: files are small and decoding releases the interpreter.

    Args:
        shift: gets the outlines in order; without it no image is compared with others.
        jpeg: decode JPEG files strictly, too.
    """
    findings = Findings(len(dataset))
    with ThreadPoolExecutor(4, "fastscnn-data") as pool:
        looked = pool.map(lambda sample: _look(dataset, sample, shift is not None, jpeg), dataset.samples)
        pairs = zip(dataset.samples, looked, strict=True)
        for sample, seen in tqdm(pairs, total=len(dataset), unit=" images", desc=dataset.kind, disable=None):
            findings.problems += [seen.problem] if seen.problem else []
            findings.broken += [seen.problem] if seen.broken else []
            findings.pixels += seen.pixels
            if seen.size:
                findings.sizes[seen.size] += 1
                findings.prints[sample.image] = seen.print
            if shift is not None:
                shift.add(seen.outline)
    return findings


def as_a_whole(dataset: Dataset, findings: Findings, split: str) -> list[str]:
    """What no file tells by itself: labels drawn as 0 and 255, and classes that training will not meet."""
    classes, labelled = dataset.classes.classes, findings.pixels[: len(dataset.classes)]
    if not labelled.any():
        return []  # each of its files was named
    if (problem := only_black_and_white(dataset, findings.pixels)) is not None:
        return [f"{split}: {problem}"]
    absent = [name for name, count in zip(classes, labelled.tolist(), strict=True) if not count]
    if absent and split == "train":
        return [
            f"{split}: no pixel of {', '.join(absent)}; expected some of each class. Label some, or take it out of the classes"
        ]
    if absent:
        log.warning("%s: no pixel of %s in the whole split", split, ", ".join(absent))
    return []


def only_black_and_white(dataset: Dataset, pixels: NDArray[np.int64]) -> str | None:
    """Why labels of 0 and 255 alone teach nothing, if they are such; `pixels` by train id."""
    table, classes = dataset.reading.table, dataset.classes.classes
    if not pixels[255] or not pixels[0] or pixels[1 : len(classes)].any() or table[0] != 0 or table[255] != 255:
        return None
    reading = (
        f"Where 255 is {classes[1]}, write `ids: [0, 255]` into {dataset.reading.source}"
        if len(classes) == 2
        else "Export the labels as ids, or map them with fastscnn-data init"
    )
    return (
        f"the labels hold 0 and 255 alone, and 255 is what is ignored: only {classes[0]} is left, so the loss would be 0 and "
        f"the score 100%; expected two classes or more. {reading}"
    )


def _unpaired(dataset: Dataset) -> list[str]:
    """Images that share a label, and labels that no image has."""
    images: dict[Path, list[str]] = {}
    for sample in dataset.samples:
        images.setdefault(sample.label, []).append(sample.image.name)
    shared = [
        f"{label} is the label of {' and of '.join(names)}; expected one image of that name"
        for label, names in images.items()
        if len(names) > 1
    ]
    first = dataset.samples[0]
    ending = first.label.name.removeprefix(first.name)  # Cityscapes has other pictures beside its labels
    there = [
        path for folder in sorted({label.parent for label in images}) for path in sorted(folder.glob(f"*{ending}"))
    ]
    lonely = [path for path in there if path not in images and not path.name.startswith(".")]
    return shared + [f"{path} has no image; expected one for each label" for path in lonely]


@dataclass(frozen=True)
class _Seen:
    problem: str = ""
    broken: bool = False  # the problem is that it cannot be read
    size: str = ""
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    outline: Outline | None = None
    print: bytes = b""


def _look(dataset: Dataset, sample: Sample, compared: bool, jpeg: bool) -> _Seen:
    try:
        image, labels = dataset.read(sample)
        if jpeg:
            expect_whole(sample.image)
    except DeviceError:
        raise
    except FastSCNNError as error:
        return _Seen(str(error), broken=True)
    pixels = np.bincount(labels.ravel(), minlength=256)
    empty = pixels[255] == labels.size
    problem = f"{sample.label} ignores every pixel; expected at least one class" if empty else ""
    return _Seen(
        problem, False, f"{image.shape[0]}x{image.shape[1]}", pixels,
        Outline.of(image, labels) if compared else None, fingerprint(image) if compared else b"",
    )  # fmt: skip


def _as_dict(dataset: Dataset, findings: Findings) -> dict[str, object]:
    total = max(int(findings.pixels.sum()), 1)
    share = {name: int(findings.pixels[i]) / total for i, name in enumerate(dataset.classes.classes)}
    return {
        "kind": dataset.kind,
        "samples": findings.samples,
        "sizes": dict(findings.sizes),
        "class_share": {**share, "ignored": int(findings.pixels[255]) / total},
        "problems": findings.problems,
    }


def _as_text(split: str, dataset: Dataset, findings: Findings) -> str:
    described = _as_dict(dataset, findings)
    sizes = ", ".join(f"{count} of {size}" for size, count in findings.sizes.most_common(4)) or "none readable"
    lines = [f"{split}: {dataset.kind}, {findings.samples} images ({sizes}), {len(findings.problems)} problems"]
    shares = described["class_share"]
    assert isinstance(shares, dict)
    lines.append("  " + ", ".join(f"{name} {share:.1%}" for name, share in shares.items()))
    lines += [f"  {problem}" for problem in findings.problems[:_SHOWN]]
    if len(findings.problems) > _SHOWN:
        lines.append(f"  and {len(findings.problems) - _SHOWN} more; --json has them all")
    return "\n".join(lines)
