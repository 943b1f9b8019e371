"""`fastscnn-data`: what is missing, broken or mislabelled in a data set, before hours are spent on it."""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..runtime.commands import command
from ..runtime.errors import FastSCNNError, SourceError
from .datasets import Dataset, Sample, open_dataset

log = logging.getLogger(__name__)

_SHOWN = 20  # problems on a terminal; --json has them all


@dataclass
class Findings:
    """What a check saw of one split."""

    samples: int
    problems: list[str] = field(default_factory=list)
    sizes: Counter[str] = field(default_factory=Counter)
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))  # by train id


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser(
        "fastscnn-data", "Read every image and label of a data set and say what is wrong with them."
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
    problems = 0
    for split in options.splits:
        dataset = open_dataset(options.root, split, coarse=options.coarse)
        findings = check(dataset)
        problems += len(findings.problems)
        report[split] = _as_dict(dataset, findings)
        if options.json != "-":
            print(_as_text(split, dataset, findings))
    if options.json:
        command.write_json(options.json, report)
    if problems:
        raise SourceError(f"{options.root} has {problems} problems, listed above; mend or remove these files")


def check(dataset: Dataset) -> Findings:
    """Read everything once, on a few threads; files are small and decoding releases the interpreter."""
    findings = Findings(len(dataset))
    with ThreadPoolExecutor(4, "fastscnn-data") as pool:
        looked = pool.map(lambda sample: _look(dataset, sample), dataset.samples)
        for problem, size, pixels in tqdm(looked, total=len(dataset), unit=" images", desc=dataset.kind, disable=None):
            if problem:
                findings.problems.append(problem)
            else:
                findings.sizes[size] += 1
                findings.pixels += pixels
    for train_id, name in enumerate(dataset.classes.classes):
        if findings.samples > len(findings.problems) and not findings.pixels[train_id]:
            log.warning("no pixel of %s in the whole split", name)
    findings.problems += _unpaired(dataset)
    return findings


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


def _look(dataset: Dataset, sample: Sample) -> tuple[str, str, NDArray[np.int64]]:
    none = np.zeros(256, np.int64)
    try:
        image, labels = dataset.read(sample)
    except FastSCNNError as error:
        return str(error), "", none
    pixels = np.bincount(labels.ravel(), minlength=256)
    if pixels[255] == labels.size:
        return f"{sample.label} ignores every pixel; expected at least one class", "", none
    return "", f"{image.shape[0]}x{image.shape[1]}", pixels


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
