"""Small labelled data sets on disk."""

from pathlib import Path

import cv2
import numpy as np
import pytest

SIDE = 96


@pytest.fixture(scope="session")
def rectangles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images of three coloured bands each, in the layout of one's own data; train and val are the same."""
    root = tmp_path_factory.mktemp("rectangles")
    (root / "classes.yaml").write_text(
        "name: bands\nclasses: {red: [200, 0, 0], green: [0, 200, 0], blue: [0, 0, 200], grey: [90, 90, 90]}\n"
    )
    colours = np.array([[0, 0, 200], [0, 200, 0], [200, 0, 0], [90, 90, 90]], np.uint8)
    rng = np.random.default_rng(0)
    for index in range(6):
        labels = np.empty((SIDE, SIDE), np.uint8)
        order = rng.permutation(4)
        for band, train_id in enumerate(order[:3]):
            labels[band * SIDE // 3 : (band + 1) * SIDE // 3] = train_id
        if index % 2:
            labels = labels.T.copy()
        image = np.clip(colours[labels] + rng.integers(0, 40, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
        if index == 4:
            labels[SIDE // 8 :] = 255  # few labels: must not weigh more than the others'
        for split in ("train", "val"):
            for kind, content in (("images", image), ("labels", labels)):
                (root / kind / split).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(root / kind / split / f"{index}.png"), content)
    return root
