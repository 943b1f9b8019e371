"""What the paper prints (Poudel, Liwicki, Cipolla: Fast-SCNN, 2019), and the commands that give each row here."""

from __future__ import annotations

from dataclasses import dataclass

DEVICE = "Titan Xp"
PARAMETERS = 1.11e6
RATES = {  # table 5: frames per second by head and (height, width); what is not at hand here is left out
    ("cls", (1024, 2048)): 123.5,
    ("cls", (512, 1024)): 285.8,
    ("cls", (256, 512)): 485.4,
    ("prob", (1024, 2048)): 106.2,
}
ACCURACY = {(1024, 2048): 68.0, (512, 1024): 62.8, (256, 512): 51.9}  # table 7: mean IoU on Cityscapes' test split

_EVALUATE = "fastscnn-eval {run}/best.safetensors --data CITYSCAPES"
_TRAIN = "fastscnn-train cityscapes data=CITYSCAPES -o {run}"
_PRETRAIN = "fastscnn-train imagenet data=IMAGENET -o runs/imagenet"
_PRETRAINED = "weights=runs/imagenet/best.safetensors"


@dataclass(frozen=True)
class Experiment:
    """One row of a table that needs a training.

    `commands` build on those of earlier rows; CITYSCAPES and IMAGENET stand for the folders of the data.
    """

    table: str
    row: str
    paper: str
    commands: tuple[str, ...]


def _trained(run: str, *options: str) -> tuple[str, ...]:
    run = f"runs/{run}"
    return " ".join([_TRAIN.format(run=run), *options]), _EVALUATE.format(run=run)


EXPERIMENTS = (
    Experiment("6", "Cityscapes' fine labels alone", "68.62 mean IoU, val", _trained("fine")),
    Experiment("section 4.3", "ImageNet pre-training", "60.71 top-1, 83.0 top-5", (_PRETRAIN,)),
    Experiment("6", "+ ImageNet", "69.15", _trained("imagenet-fine", _PRETRAINED)),
    Experiment("6", "+ coarse labels", "69.22", _trained("coarse", "coarse=true")),
    Experiment("6", "+ both", "69.19", _trained("imagenet-coarse", "coarse=true", _PRETRAINED)),
    Experiment(
        "section 4.4",
        "the skip connection set to zero",
        "64.30",
        (f"{_EVALUATE.format(run='runs/coarse')} --zero-skip",),
    ),
    Experiment(
        "4",
        "Cityscapes' test server",
        "68.0 class, 84.7 category",
        (f"{_EVALUATE.format(run='runs/coarse')} --split test --submission submission",),
    ),
    Experiment(
        "7",
        "half and quarter resolution, val in place of test",
        "62.8, 51.9",
        tuple(f"{_EVALUATE.format(run='runs/coarse')} --res {size}" for size in ("512x1024", "256x512")),
    ),
)
