"""Samples for training as PyTorch's loader wants them; the same ones for the same seed, epoch and index."""

from __future__ import annotations

import logging
import shutil
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler

from ...runtime.errors import SourceError, TrainingError, UsageError
from ...runtime.frame import Frame
from ...runtime.media.sources import IMAGES, read_image
from .. import datasets
from ..classes import CLASS_SETS, ClassSet
from ..street import Street
from .augment import centred, draw, half, image_view, label_view, pasted
from .camera import seen_by_camera
from .recipe import Recipe

log = logging.getLogger(__name__)

SHARED_MEMORY = "/dev/shm"
_STREETS, _STREET_HEIGHT = 400, 360  # that an opening shows, and at most: all of them stay in memory
_MARGIN = 8 / 7  # ImageNet's usual 256 for a crop of 224: the short side before the crop
Item = tuple[Tensor, Tensor, str]  # uint8 (H, W, 3) BGR; labels uint8 (h, w), or a class int64 (); name


class Views(Dataset[Item], ABC):
    """Randomly drawn views; subclasses say what the images are."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.epoch = 0  # of the samples that are asked for by their index alone

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def item(self, index: int) -> Item:
        """The sample as this epoch shows it."""

    def __getitem__(self, key: int | tuple[int, int]) -> Item:
        """A sample by its index, or by epoch and index."""
        if isinstance(key, tuple):
            self.epoch, key = key
        return self.item(key)

    def rng(self, index: int) -> np.random.Generator:
        return np.random.default_rng((self.recipe.seed, self.epoch, index))


class Segmentation(Views):
    """A labelled data set, and drawn street frames after it; while the recipe's opening lasts, streets in place of all."""

    def __init__(self, recipe: Recipe, labelled: Sequence[datasets.Dataset]) -> None:
        super().__init__(recipe)
        self.classes: ClassSet = labelled[0].classes
        self._drawable = next((s.name for s in CLASS_SETS.values() if s.classes == self.classes.classes), "")
        for name in ("street", "opening"):
            if getattr(recipe, name) and not self._drawable:
                raise UsageError(
                    f"{name} is {getattr(recipe, name)}, but drawn streets have the classes of {' or '.join(CLASS_SETS)}, not of "
                    f"{self.classes.name}; expected {name}=0"
                )
        self._samples = [(dataset, sample) for dataset in labelled for sample in dataset.samples]
        self._room = recipe.cache << 20
        self._kept: dict[int, tuple[Frame, NDArray[np.uint8]]] = {}
        self._streets: dict[int, tuple[Frame, NDArray[np.uint8]]] = {}

    def __len__(self) -> int:
        return len(self._samples) + self.recipe.street

    def item(self, index: int) -> Item:
        rng = self.rng(index)
        seen, target, name = self._view(index, rng)
        if self.recipe.mix and rng.random() < self.recipe.mix:
            other, theirs, other_name = self._view(int(rng.integers(len(self._samples))), rng)
            seen, target = pasted(seen, target, other, theirs, half(theirs, rng))
            name = f"{name} mixed with {other_name}"
        if self.recipe.paste and rng.random() < self.recipe.paste:
            other, theirs, other_name = self._view(int(rng.integers(len(self._samples))), rng)
            seen, target = pasted(seen, target, other, theirs, self._rare)
            name = f"{name} with {other_name}"
        return torch.from_numpy(seen_by_camera(seen, rng, self.recipe)), torch.from_numpy(target), name

    def _view(self, index: int, rng: np.random.Generator) -> tuple[Frame, NDArray[np.uint8], str]:
        image, labels, name = self._read(index)
        size = image.shape[0], image.shape[1]
        recipe = self.recipe.at(self.epoch)
        view = draw(rng, size, recipe.resolution or size, recipe)
        return image_view(image, view, recipe.crop), label_view(labels, view, recipe.crop, recipe.label_stride), name

    @cached_property
    def _rare(self) -> NDArray[np.uint8]:
        """The classes with less than half of an equal share of the pixels."""
        return np.flatnonzero(self.shares() < 0.5 / len(self.classes)).astype(np.uint8)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """(256,) pixels of each train id in the label files, street frames left out; reads all of them, once.

        Raises:
            SourceError: the first that cannot be read.
        """
        with ThreadPoolExecutor(4, "fastscnn-labels") as pool:  # decoding releases the interpreter
            return sum(pool.map(_counted, self._samples), np.zeros(256, np.int64))

    def shares(self) -> NDArray[np.float64]:
        """(C,) share of each class in the labelled pixels of the data set, street frames left out."""
        found = self.counts[: len(self.classes)].astype(np.float64)
        return found / max(found.sum(), 1)

    def _read(self, index: int) -> tuple[Frame, NDArray[np.uint8], str]:
        if self.epoch < self.recipe.opening_epochs:
            height, width = self.recipe.resolution or self.recipe.crop
            lower = min(height, _STREET_HEIGHT)
            return self._street(self.recipe.street + index % _STREETS, (lower, max(1, width * lower // height)))
        if len(self._streets) > self.recipe.street:
            self._streets.clear()  # the opening is over
        if index >= len(self._samples):
            return self._street(index - len(self._samples), self.recipe.resolution or self.recipe.crop)
        dataset, sample = self._samples[index]
        found = self._kept.get(index) or dataset.read(sample)
        # The first that fit, and no more: what comes around once an epoch is gone before it is needed again.
        if self._room > 0 and index not in self._kept:
            self._room -= found[0].nbytes + found[1].nbytes
            self._kept[index] = found
        return *found, sample.name

    def _street(self, place: int, size: tuple[int, int]) -> tuple[Frame, NDArray[np.uint8], str]:
        """Drawn once by each process; a street of its own for every place."""
        if place not in self._streets:
            street = Street(*size, seed=self.recipe.seed + place, classes=self._drawable)
            self._streets[place] = street.frame(17 * place)
        return *self._streets[place], f"street {place}"


def _counted(pair: tuple[datasets.Dataset, datasets.Sample]) -> NDArray[np.int64]:
    dataset, sample = pair
    return np.bincount(dataset.labels(sample).ravel(), minlength=256)


class Classification(Views):
    """ImageNet's layout: ROOT/SPLIT/CLASS/*.JPEG; classes are the folders in alphabetical order.

    Raises:
        UsageError: fewer than two class folders, or no images.
    """

    def __init__(self, recipe: Recipe, split: str) -> None:
        super().__init__(recipe)
        root = Path(recipe.data) / split
        self.names = tuple(sorted(p.name for p in root.iterdir() if p.is_dir())) if root.is_dir() else ()
        self._samples = [
            (path, number)
            for number, name in enumerate(self.names)
            for path in sorted((root / name).iterdir())
            if path.suffix.lower() in IMAGES
        ]
        if len(self.names) < 2 or not self._samples:
            raise UsageError(
                f"{root} has {len(self.names)} class folders; expected two or more with images, as ImageNet has"
            )
        self._plain = split != "train"

    def __len__(self) -> int:
        return len(self._samples)

    def item(self, index: int) -> Item:
        path, number = self._samples[index]
        image = read_image(path)
        size, crop = (image.shape[0], image.shape[1]), self.recipe.crop
        factor = _MARGIN * max(crop) / min(size)
        whole = round(size[0] * factor), round(size[1] * factor)
        rng = self.rng(index)
        view = centred(size, whole, crop) if self._plain else draw(rng, size, whole, self.recipe)
        seen = image_view(image, view, self.recipe.crop)
        if not self._plain:
            seen = seen_by_camera(seen, rng, self.recipe)
        return torch.from_numpy(seen), torch.tensor(number), str(path)


class Order(Sampler[tuple[int, int]]):
    """Epoch and index of this process's samples, epoch after epoch, each in an order that follows from seed and epoch.

    One order for all epochs lets workers live through all of them, and load the next while the last ends or is validated.
    """

    def __init__(self, views: Views, epochs: range, rank: int, world: int) -> None:
        self._epochs = epochs
        self._one: DistributedSampler[Any] = DistributedSampler(
            views, num_replicas=world, rank=rank, shuffle=True, seed=views.recipe.seed, drop_last=True
        )
        batch = views.recipe.batch // world
        self._kept = len(self._one) // batch * batch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for epoch in self._epochs:
            self._one.set_epoch(epoch)
            yield from ((epoch, index) for index in islice(self._one, self._kept))

    def __len__(self) -> int:
        return len(self._epochs) * self._kept


def batches(views: Views, epochs: range, rank: int, world: int) -> Generator[Any, None, None]:
    """The batches of this process in these epochs, one epoch after the other.

    Raises:
        SourceError: a sample that cannot be read.
    """
    recipe = views.recipe
    piped = bool(recipe.workers) and shared_memory_is_small(recipe)
    pinned = torch.cuda.is_available() and recipe.device != "cpu"
    loader: DataLoader[Any] = DataLoader(
        views,
        recipe.batch // world,
        sampler=Order(views, epochs, rank, world),
        num_workers=recipe.workers,
        pin_memory=pinned,
        collate_fn=through_pipes if piped else None,
        generator=torch.Generator(),  # of its own: dropout's numbers do not depend on when a loader was made
    )
    try:
        for images, target, names in loader:
            yield torch.as_tensor(images), torch.as_tensor(target), names
    except SourceError as error:
        if "DataLoader worker" not in str(error):
            raise
        last = str(error).strip().splitlines()[-1]  # the worker's traceback ends with what it said
        raise SourceError(last.partition(": ")[2] or last) from None


@contextmanager
def loaders_alive() -> Iterator[None]:
    """Around a whole training: PyTorch tells of a loading process that was killed wherever the main thread then is.

    Raises:
        TrainingError: one was.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error) and "shared memory" not in str(error):
            raise
        free = shared_memory()
        raise TrainingError(
            f"a process that loads data was killed, or had no memory to hand its images over ({SHARED_MEMORY} has "
            f"{'none' if free is None else f'{free >> 20:,} MB'} free); expected it to stay alive. Go on with --resume and workers=0, "
            "or give the machine more memory (docker run --shm-size=8g)"
        ) from error


def shared_memory() -> int | None:
    """Free bytes where worker processes lay images for this one; None where there is no such place."""
    try:
        return shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        return None


def shared_memory_is_small(recipe: Recipe) -> bool:
    """Whether batches of this size would not fit, as with Docker's 64 MB: the kernel then kills whoever writes there."""
    height, width = recipe.at(recipe.epochs - 1).crop
    ahead = recipe.workers * 2 + 1  # batches: what PyTorch loads in advance, and the one in use
    needed = ahead * recipe.batch * height * width * (3 + 1)
    free = shared_memory()
    if free is None or free >= needed:
        return False
    log.warning(
        "%s has %d MB free and %d workers want %d MB: batches go through pipes, a little slower (Docker: --shm-size)",
        SHARED_MEMORY, free >> 20, recipe.workers, needed >> 20,
    )  # fmt: skip
    return True


def through_pipes(items: Sequence[Item]) -> tuple[NDArray[np.uint8], NDArray[Any], list[str]]:
    """A batch as arrays, which are sent as bytes; tensors would be laid into shared memory."""
    images, targets, names = zip(*items, strict=True)
    return np.stack([i.numpy() for i in images]), np.stack([t.numpy() for t in targets]), list(names)
