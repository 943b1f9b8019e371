"""What a training run is told: one frozen dataclass, filled from YAML and key=value, checked when it is made."""

from __future__ import annotations

import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from ...runtime.commands.command import MAXIMUM_SIDE, did_you_mean
from ...runtime.errors import UsageError
from ..variant import MINIMUM_SIDE

SHIPPED = Path(__file__).parent / "recipes"
TUNABLE = frozenset(
    {"data", "workers", "cache", "threads", "evaluate_every", "device", "channels_last", "temperature"}
)  # may change at a resume


@dataclass(frozen=True)
class Recipe:
    """One run; the defaults are the paper's (section 4) where it names a value.

    Raises:
        UsageError: a value that is out of range, or two that contradict each other; names the field.
    """

    data: str  # folder of a data set, see fastscnn-data
    task: Literal["segmentation", "classification"] = "segmentation"  # classification: ImageNet pre-training
    coarse: bool = False  # beside the fine labels Cityscapes' coarse ones (train_extra)
    split: Literal["train", "train+val"] = (
        "train"  # what is trained on; train+val: nothing is left to choose the best by
    )
    holdout: str = ""  # drives of that split, by name and comma: scored in place of val, and not trained on
    street: int = 0  # drawn street frames beside the data set's own, per epoch
    weights: str | None = None  # checkpoint to start from; "shipped": those trained on CamVid, for research
    seed: int = 0

    epochs: int = 1000
    batch: int = 12  # over all processes
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.045
    power: float = 0.9  # of the poly schedule: rate × (1 − step / steps) ^ power
    warmup: int = 0  # epochs in which the rate rises to its own
    momentum: float = 0.9  # SGD's; AdamW has its usual betas
    weight_decay: float = 4e-5  # not on depthwise convolutions, norms and biases
    auxiliary: float = 0.4  # weight of each of the two auxiliary losses
    dropout: float = 0.1  # before each last layer
    class_weights: float = 0.0  # of the loss: ENet's 1 / ln(1.02 + share of pixels) to this power; 0: all the same
    smoothing: float = 0.0  # of the labels: this share is spread over all classes
    hardest: float = 1.0  # share of a step's pixels that the main loss counts, from those on which it is highest
    teacher: str | None = None  # checkpoints, by comma, whose mean probabilities teach beside the labels
    distillation: float = 0.0  # weight of what the teacher says
    lovasz: float = 0.0  # weight of the Lovász soft-max loss, which stands for the mean IoU, beside cross-entropy
    ema: float = 0.0  # decay per step of the averaged weights, which are then the result; 0: no average
    balance: bool = False  # at the end: the last layer's biases to the best mean IoU on training images
    rounded: bool = False  # before that: weights that bfloat16 holds exactly, so that engines have nothing to round
    temperature: tuple[float, float] = (
        1.0,
        1.0,
    )  # of a prob head's and a cls head's confidence, as cross-validation found
    freeze_norm: bool = False  # batch norm keeps its statistics

    resolution: tuple[int, int] | None = None  # height, width the network sees a whole image at; null: as stored
    crop: tuple[int, int] = (1024, 2048)  # height, width of what one step sees
    label_stride: int = 1  # the main loss is taken at every so many-th pixel of the crop
    scales: tuple[float, float] = (0.5, 2.0)  # random resize
    opening: float = 0.0  # share of the epochs, the first ones, that see drawn streets alone; the rate then begins anew
    closing: float = 0.0  # share of the epochs, the last ones, that see larger crops, nearer to whole images
    closing_crop: tuple[int, int] | None = None  # height, width there
    closing_scales: tuple[float, float] | None = None  # random resize there; null: as before
    flip: bool = True
    brightness: float = 0.25  # factor from 1 − x to 1 + x
    contrast: float = 0.0  # the same, around the image's mean
    channel_noise: float = 0.1  # the same, for each colour channel by itself
    paste: float = 0.0  # how often a view gets the rare classes of another image, in their places
    mix: float = 0.0  # how often half of the classes of another image, which need not be rare
    saturation: float = 0.0  # factor from 1 − x to 1 + x
    hue: float = 0.0  # turn by up to x of the whole circle
    gamma: float = 0.0  # exponent from 1 / (1 + x) to 1 + x
    shadow: float = 0.0  # how often a part lies in a soft shadow
    rain: float = 0.0  # how often a view has bright streaks of it
    blur: float = 0.0  # how often a view is out of focus or moved
    noise: float = 0.0  # standard deviation from 0 to x of the whole range
    jpeg: float = 0.0  # how often a view has been a JPEG of low quality

    evaluate_every: int = 5  # epochs
    evaluate_at: tuple[int, int] | None = None  # height, width then, and in the result; null: resolution
    device: Literal["auto", "cuda", "cpu"] = "auto"
    amp: bool = True  # float16 with gradient scaling, on a GPU
    bfloat16: bool = False  # on CPUs that multiply it; on a GPU that does in place of float16
    channels_last: bool = True
    workers: int = 0  # processes that load data
    cache: int = 0  # megabytes of decoded pictures that each of these processes keeps
    threads: int = 0  # of PyTorch on the CPU; 0: its own choice

    def __post_init__(self) -> None:
        side = f"both from {MINIMUM_SIDE} to {MAXIMUM_SIDE}"
        rules: list[tuple[str, bool, str]] = [
            ("data", bool(self.data), "the folder of a data set, data=FOLDER"),
            ("epochs", self.epochs >= 1, "1 or more"),
            ("batch", self.batch >= 2, "2 or more, for batch norm"),
            ("learning_rate", 0 < self.learning_rate < 100, "a positive number"),
            ("power", 0 <= self.power < math.inf, "0 or more"),
            ("warmup", 0 <= self.warmup < self.epochs, "fewer than the epochs"),
            ("momentum", 0 <= self.momentum < 1, "from 0 up to, not including, 1"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "0 or more"),
            ("auxiliary", 0 <= self.auxiliary < math.inf, "0 or more"),
            ("class_weights", 0 <= self.class_weights <= 2, "from 0 to 2"),
            ("lovasz", 0 <= self.lovasz < math.inf, "0 or more"),
            ("smoothing", 0 <= self.smoothing < 1, "from 0 up to, not including, 1"),
            ("hardest", 0 < self.hardest <= 1, "more than 0, up to 1"),
            ("distillation", 0 <= self.distillation < math.inf, "0 or more"),
            (
                "teacher",
                bool(self.teacher) == (self.distillation > 0),
                "a checkpoint if distillation is not 0, else none",
            ),
            ("temperature", all(0.05 <= t <= 20 for t in self.temperature), "two numbers from 0.05 to 20"),
            *((name, 0 <= getattr(self, name) <= 1, "from 0 to 1") for name in _SHARES),
            ("hue", 0 <= self.hue <= 0.5, "from 0 to 0.5"),
            ("gamma", 0 <= self.gamma <= 3, "from 0 to 3"),
            ("noise", 0 <= self.noise <= 0.5, "from 0 to 0.5"),
            ("dropout", 0 <= self.dropout < 1, "from 0 up to, not including, 1"),
            ("ema", 0 <= self.ema < 1, "from 0 up to, not including, 1"),
            ("street", self.street >= 0, "0 or more"),
            ("seed", 0 <= self.seed < 2**63, "from 0 up to, not including, 2**63"),
            ("resolution", self.resolution is None or _sides(self.resolution), side),
            ("evaluate_at", self.evaluate_at is None or _sides(self.evaluate_at), side),
            ("crop", _sides(self.crop), side),
            ("label_stride", self.label_stride in (1, 2, 4, 8), "1, 2, 4 or 8"),
            *(
                (n, (x := getattr(self, n)) is None or 0.1 <= x[0] <= x[1] <= 10, "low, high from 0.1 to 10")
                for n in _RESIZE
            ),
            *(
                (name, 0 <= getattr(self, name) < 1, "from 0 up to, not including, 1")
                for name in ("opening", "closing")
            ),
            (
                "opening",
                self.opening + self.closing < 1 and self.opening_epochs < self.epochs,
                "less than 1 together with closing, and an epoch or more after it",
            ),
            ("closing_crop", self.closing_crop is None or _sides(self.closing_crop), side),
            (
                "closing_crop",
                bool(self.closing_crop) == (self.closing > 0),
                "height, width if closing is not 0, else null",
            ),
            *((name, 0 <= getattr(self, name) < 1, "from 0 up to, not including, 1") for name in _COLOUR),
            ("evaluate_every", self.evaluate_every >= 1, "1 or more"),
            ("workers", self.workers >= 0, "0 or more"),
            ("cache", self.cache >= 0, "0 or more"),
            ("threads", self.threads >= 0, "0 or more"),
            *(
                (
                    name,
                    self.task == "segmentation" or not getattr(self, name),
                    "nothing: classification has no use for it",
                )
                for name in _OF_SEGMENTATION
            ),
        ]
        for name, holds, expected in rules:
            if not holds:
                raise UsageError(f"{name} is {getattr(self, name)!r:.80}; expected {expected}")

    @classmethod
    def read(cls, path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
        """From a YAML file, or the name of a recipe that ships, and `key=value` texts that win over it.

        A file that lies in a data set, beside its classes.yaml, means that data set.

        Raises:
            UsageError: no such file or recipe, not YAML, unknown keys, values of the wrong type.
        """
        from ..plain_yaml import parse, read

        found = _found(Path(path))
        try:
            content: Any = read(found)
        except UsageError as error:
            raise UsageError(f"{path} cannot be read as YAML ({error}); expected `key: value` lines") from error
        values = {} if content is None else content
        if not isinstance(values, dict):
            raise UsageError(f"{path} holds a {type(values).__name__}; expected `key: value` lines")
        if (found.parent / "classes.yaml").is_file():
            values = {"data": str(found.parent), **values}
        for text in overrides:
            key, equals, value = text.partition("=")
            if not equals:
                raise UsageError(f"{text!r} is not key=value; expected for example epochs=100")
            try:
                values[key] = parse(value)
            except UsageError as error:
                raise UsageError(f"{text!r:.200} cannot be read ({error}); expected key=value") from error
        return cls.of(values)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Recipe:
        """From plain values, as YAML gives them.

        Raises:
            UsageError: unknown keys, values of the wrong type or out of range.
        """
        annotations = typing.get_type_hints(cls)
        made = {}
        for key, value in values.items():
            if key not in annotations:
                usual = _USUAL.get(str(key))
                meant = f" Did you mean {usual!r}?" if usual else did_you_mean(str(key), list(annotations))
                raise UsageError(
                    f"{key!r:.80} is not a field of a recipe.{meant} The fields are {', '.join(annotations)}"
                )
            made[key] = _converted(key, value, annotations[key])
        return cls(**{"data": "", **made})

    def as_dict(self) -> dict[str, Any]:
        """Plain values that YAML and JSON can hold; `of` reads them again."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @property
    def opening_epochs(self) -> int:
        return round(self.opening * self.epochs)

    def at(self, epoch: int) -> Recipe:
        """The recipe with the crop and the resize of that epoch, counted from 0."""
        if epoch < self.epochs - round(self.closing * self.epochs) or not self.closing_crop:
            return self
        return replace(self, crop=self.closing_crop, scales=self.closing_scales or self.scales)

    def differing(self, other: Recipe) -> list[str]:
        """Fields that would make another run of it."""
        names = [field.name for field in fields(self) if field.name not in TUNABLE]
        return [name for name in names if getattr(self, name) != getattr(other, name)]


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


_AS_IN = {
    "crop": "512x1024", "closing_crop": "512x1024", "resolution": "512x1024", "scales": "0.5,2", "closing_scales": "0.5,2",
    "evaluate_at": "512x1024", "temperature": "1.2,1.4",
}  # fmt: skip


def _sides(size: tuple[int, int]) -> bool:
    return all(MINIMUM_SIDE <= side <= MAXIMUM_SIDE for side in size)


# What other programs call a field.
_USUAL = {
    "lr": "learning_rate", "learning-rate": "learning_rate", "base_lr": "learning_rate", "batch_size": "batch", "bs": "batch",
    "batchsize": "batch", "epoch": "epochs", "max_epochs": "epochs", "n_epochs": "epochs", "wd": "weight_decay",
    "crop_size": "crop", "size": "crop", "img_size": "crop", "imgsz": "crop", "res": "resolution", "input_size": "resolution",
    "num_workers": "workers", "optim": "optimizer", "pretrained": "weights", "checkpoint": "weights", "init": "weights",
    "label_smoothing": "smoothing", "ohem": "hardest", "bf16": "bfloat16", "dataset": "data", "root": "data", "data_root": "data", "hflip": "flip", "color_jitter": "brightness",
    "val_interval": "evaluate_every", "eval_every": "evaluate_every",
}  # fmt: skip
_RESIZE = ("scales", "closing_scales")
_COLOUR = ("brightness", "contrast", "channel_noise")
_SHARES = ("paste", "mix", "saturation", "shadow", "rain", "blur", "jpeg")
_OF_SEGMENTATION = (
    "street", "coarse", "holdout", "weights", "resolution", "class_weights", "smoothing", "teacher", "lovasz", "paste", "mix",
    "balance", "rounded", "opening", "closing", "evaluate_at",
)  # fmt: skip


def _found(path: Path) -> Path:
    if path.is_file() or path.parent != Path():
        return path
    shipped = SHIPPED / f"{path.stem}.yaml"
    if shipped.exists():
        return shipped
    known = sorted(p.stem for p in SHIPPED.glob("*.yaml"))
    raise UsageError(
        f"{path} is neither a file nor a recipe that ships ({', '.join(known)}).{did_you_mean(path.stem, known)}"
    )


def _converted(name: str, value: Any, annotation: Any) -> Any:
    """`value` as the field's type; YAML has lists for tuples and reads 1e-3 as text."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _converted(name, value, inner[0])
    if origin is Literal:
        if value in inner:
            return value
        raise UsageError(f"{name} is {value!r:.80}; expected {' or '.join(map(str, inner))}")
    if origin is tuple:
        if isinstance(value, str):  # as one writes it on a command line
            value = [_number(part) for part in re.split(r"\s*[x×,]\s*|\s+", value.strip().strip("[]()"))]
        if isinstance(value, (list, tuple)) and len(value) == len(inner):
            return tuple(_converted(name, v, i) for v, i in zip(value, inner, strict=True))
        raise UsageError(f"{name} is {value!r:.80}; expected {len(inner)} numbers, as in {_AS_IN[name]}")
    if annotation is float and not isinstance(value, bool):
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError):
            pass
    elif annotation in (int, bool, str) and type(value) is annotation:
        return value
    kind = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[annotation]
    raise UsageError(f"{name} is {value!r:.80}; expected {kind}")
