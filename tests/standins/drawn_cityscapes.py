"""A small drawn data set in the layout of the packages that Cityscapes gives out."""

from pathlib import Path

import cv2
import numpy as np

from fastscnn.model import Street
from fastscnn.model.datasets import CITYSCAPES_IDS

SPLITS = {"train": "gtFine", "train_extra": "gtCoarse", "val": "gtFine", "test": "gtFine"}


def write(root: Path, height: int, width: int) -> Path:
    """Two frames of another street in each split, with labelIds; gives the folder."""
    ids = np.zeros(256, np.uint8)  # 0: unlabelled
    ids[: len(CITYSCAPES_IDS)] = CITYSCAPES_IDS
    for seed, (split, kind) in enumerate(SPLITS.items()):
        street = Street(height, width, seed=seed)
        for index in range(2):
            image, labels = street.frame(index * 40)
            labels[0, : len(CITYSCAPES_IDS)] = range(len(CITYSCAPES_IDS))  # a street that lacks a class is reported
            stem = f"town_{index:06d}_000019"
            for folder, suffix, content in (
                ("leftImg8bit", "leftImg8bit", image),
                (kind, f"{kind}_labelIds", ids[labels]),
            ):
                path = root / folder / split / "town" / f"{stem}_{suffix}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), content)
    return root
