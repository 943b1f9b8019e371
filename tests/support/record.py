"""Make `models.tar.xz` anew: real exports of a network like Fast-SCNN with an eighth of its channels, for machines without PyTorch.

    python tests/support/record.py            after a change of the exporter or the quantiser; the weights stay
    python tests/support/record.py --train    new weights, too: a few minutes

The archive is compressed as one piece, so that weights that many files share cost their bytes once.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import tarfile
import tempfile
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import recorded
import torch
from torch import nn

from fastscnn.export import export
from fastscnn.export.quantisation import quantise
from fastscnn.model import checkpoint as checkpoints
from fastscnn.model.classes import CAMVID, ClassSet
from fastscnn.model.network import FastSCNN
from fastscnn.model.street import Street

DIVISOR = 8  # of channels
WEIGHTS = "trained.npz"
_untrained = checkpoints.untrained


def thin(classes: ClassSet) -> checkpoints.Checkpoint:
    """Random weights in fewer channels; otherwise what `checkpoints.untrained` gives."""
    network = FastSCNN(len(classes))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            inputs = module.in_channels if module.in_channels == 3 else module.in_channels // DIVISOR
            outputs = module.out_channels // (1 if module is network.classifier.conv else DIVISOR)
            groups = max(1, module.groups // DIVISOR)
            module.in_channels, module.out_channels, module.groups = inputs, outputs, groups
            module.weight = nn.Parameter(torch.empty(outputs, inputs // groups, *module.kernel_size))
            if module.bias is not None:
                module.bias = nn.Parameter(torch.zeros(outputs))
        elif isinstance(module, nn.BatchNorm2d):
            module.__init__(module.num_features // DIVISOR)  # type: ignore[misc]
    with mock.patch.object(checkpoints, "FastSCNN", lambda *_: network):
        return _untrained(classes)


def trained(steps: int = 200) -> nn.Module:
    """On drawn streets with CamVid's classes."""
    given = thin(CAMVID)
    network = given.network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    scenes = [Street(128, 256, seed=seed, classes=CAMVID.name).frame(seed * 9) for seed in range(64)]
    images = torch.from_numpy(np.stack([np.ascontiguousarray(frame[..., ::-1]) for frame, _ in scenes]))
    labels = torch.from_numpy(np.stack([label for _, label in scenes])).long()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (given.mean, given.std))
    optimiser = torch.optim.AdamW(network.parameters(), 4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 8e-3, total_steps=steps)
    loss_of = nn.CrossEntropyLoss(ignore_index=255)
    for step in range(steps):
        chosen = torch.randint(len(images), (4,))
        pixels, truth = images[chosen], labels[chosen]
        if step % 2:
            pixels, truth = pixels.flip(2), truth.flip(2)
        logits = network((pixels.permute(0, 3, 1, 2) / 255 - mean) / std)
        loss = loss_of(logits, truth[:, 4::8, 4::8])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 20 == 0:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)
    return network.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        if options.train:
            np.savez(folder / WEIGHTS, **{name: t.numpy() for name, t in trained().state_dict().items()})
            write(folder, [WEIGHTS])
        streets = thin(CAMVID)
        with tarfile.open(recorded.ARCHIVE) as archive:
            archive.extract(WEIGHTS, folder, filter="data")
        with np.load(folder / WEIGHTS) as weights:
            streets.network.load_state_dict({name: torch.from_numpy(weights[name]) for name in weights.files})
        streets = dataclasses.replace(streets, digest="0" * 64)
        with (
            mock.patch.object(checkpoints, "untrained", thin),
            mock.patch.object(checkpoints, "load", lambda *_: streets),
        ):
            for spec in recorded.SPECS:
                export(**spec.arguments, output=folder / spec.name)
        frames = folder / "frames"
        frames.mkdir()
        for index in range(12):
            frame, _ = Street(256, 512, seed=index, classes=CAMVID.name).frame(index * 9)
            cv2.imwrite(str(frames / f"{index}.png"), frame)
        for quantised in recorded.QUANTISED:
            quantise(folder / quantised.source, frames, folder / quantised.name, least=0.9)
        write(folder, [WEIGHTS, *(spec.name for spec in (*recorded.SPECS, *recorded.QUANTISED))])


def write(folder: Path, names: list[str]) -> None:
    """The same bytes for the same files."""
    with tarfile.open(recorded.ARCHIVE, "w:xz", preset=9) as archive:
        for name in names:
            data = (folder / name).read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    print(f"{len(names)} files in {recorded.ARCHIVE.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
