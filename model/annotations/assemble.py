"""Write a data set of this project's layout from what was found: all of it or nothing, and nothing of the source is changed."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ...runtime.artifacts.artifact import IGNORE
from ...runtime.artifacts.files import unwritable
from ...runtime.errors import OutputError, SourceError
from ...runtime.frame import Frame
from ...runtime.media.sources import decoded
from ..classes import ClassSet
from ..labelled.jpeg import expect_whole
from ..labelled.masks import Labels
from ..labelled.orientation import UPRIGHT, as_shown, read_turned
from . import preview
from .mapping import REST, Plan
from .recipe import fitted
from .source import Found, Labelled
from .split import SPLITS, split

log = logging.getLogger(__name__)

_SHOWN = 20  # problems, of many


@dataclass(frozen=True)
class Options:
    """How to take a source.

    `shares` are those of val and test where the source has no splits of its own; `drawn` is what labels were drawn on
    ("stored" or "shown"), where the format does not tell; `levels` are the values of 16-bit pictures that become 0 and 255.
    """

    shares: tuple[float, float] = (0.2, 0.0)
    seed: int = 0
    resplit: bool = False
    drawn: str | None = None
    levels: tuple[int, int] | None = None
    skip: bool = False


@dataclass(frozen=True)
class Made:
    """What was written."""

    classes: ClassSet
    splits: dict[str, int]  # pictures
    how: str  # the split was made
    pixels: NDArray[np.int64]  # (256,) by train id
    rest: float  # share of the pixels that nothing was drawn on
    sizes: Counter[str]
    upright: int  # pictures that were turned and are stored as they are shown now


@dataclass(frozen=True)
class _Taken:
    name: str
    size: tuple[int, int]
    pixels: NDArray[np.int64]  # of staged labels
    turned: bool


def assemble(found: Found, plan: Plan, target: Path, options: Options) -> Made:
    """Write `target` with images/, labels/, classes.yaml, recipe.yaml and preview.png.

    Raises:
        SourceError: pictures or labels that cannot be taken, each by name; nothing is written.
        UsageError: fewer than two pictures or classes.
        OutputError: the place cannot be written, or there is something.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise OutputError(f"{target} is there already and not empty; expected a new folder. Choose another with -o")
    with _staged(target) as folder:
        taken, problems = _take_all(found, plan, folder, options)
        if problems and not (options.skip and len(taken) >= 2):
            listed = "\n  ".join(problems[:_SHOWN]) + (
                f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
            )
            raise SourceError(
                f"{len(problems)} of {len(found.pictures)} pictures cannot be taken, and nothing was written:\n  {listed}\n"
                "Mend them, or leave them out with --skip"
            )
        pixels = np.sum([t.pixels for t in taken.values()], axis=0)
        rest = int(pixels[REST]) / max(1, int(pixels.sum()))
        classes, table = plan.finished(found, target.resolve().name, rest > 0)
        by_split, how = _divided(taken, options, len(classes), table)
        _distribute(folder, taken, by_split, table)
        final = np.bincount(table, weights=pixels, minlength=256).astype(np.int64)
        sizes = Counter(f"{t.size[0]}x{t.size[1]}" for t in taken.values())
        counts = {split: count for split in SPLITS if (count := sum(s == split for s in by_split.values()))}
        (folder / "classes.yaml").write_text(as_yaml(classes), encoding="utf-8")
        (folder / "recipe.yaml").write_text(fitted(counts.get("train", 0), sizes), encoding="utf-8")
        shares = [*(final[: len(classes)] / final.sum()), final[IGNORE] / final.sum()]
        (folder / "preview.png").write_bytes(preview.board(_examples(folder, by_split), classes, shares))
        upright = sum(t.turned for t in taken.values())
        return Made(classes, counts, how, final, rest, sizes, upright)


def as_yaml(classes: ClassSet) -> str:
    """`classes.yaml`, with names in quotes where YAML would take them for something else."""
    import yaml

    def flow(value: object) -> str:
        return (
            yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000)
            .removesuffix("...\n")
            .strip()
        )

    lines = [f"name: {flow(classes.name)}", "classes:"]
    lines += [f"  {flow(name)}: {list(colour)}" for name, colour in zip(classes.classes, classes.palette, strict=True)]
    return "\n".join(lines) + "\n"


@contextmanager
def _staged(target: Path) -> Iterator[Path]:
    """A hidden folder beside `target`, which gets its name when all is there."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name[:50]}.", dir=target.parent))
        folder.chmod(0o755)
    except OSError as error:
        raise unwritable(target, error) from error
    try:
        yield folder
        if target.exists():
            target.rmdir()
        folder.rename(target)
    except OSError as error:
        raise unwritable(target, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _take_all(found: Found, plan: Plan, folder: Path, options: Options) -> tuple[dict[Labelled, _Taken], list[str]]:
    names = unique_names([picture.image for picture in found.pictures])
    for place in ("images", "labels"):
        (folder / place).mkdir()

    def take(pair: tuple[Labelled, str]) -> _Taken | str:
        try:
            return _take(found, plan, folder, options, *pair)
        except (SourceError, OutputError) as error:
            if isinstance(error, OutputError):
                raise
            return str(error)

    taken: dict[Labelled, _Taken] = {}
    problems = []
    pairs = list(zip(found.pictures, names, strict=True))
    with ThreadPoolExecutor(4, "fastscnn-data") as pool:
        for (picture, _), result in tqdm(
            zip(pairs, pool.map(take, pairs), strict=True), total=len(pairs), unit=" images", disable=None
        ):
            if isinstance(result, str):
                problems.append(result)
            else:
                taken[picture] = result
    return taken, problems


def _take(found: Found, plan: Plan, folder: Path, options: Options, picture: Labelled, name: str) -> _Taken:
    image, orientation = _picture(picture.image, options.levels)
    size = image.shape[0], image.shape[1]
    numbers = picture.draw(size)
    drawn = options.drawn or found.drawn
    if drawn == "shown" and numbers.shape != size and numbers.shape == size[::-1]:
        drawn = "stored"  # this time the tool did not turn the picture
    numbers = as_shown(picture.image, picture.label, numbers, size, orientation, drawn)
    if numbers.shape != size:
        raise SourceError(
            f"{picture.label} is height={numbers.shape[0]} width={numbers.shape[1]}, but its image is "
            f"height={size[0]} width={size[1]}; expected the same size"
        )
    labels = plan.staged(numbers)
    pixels = np.bincount(labels.ravel(), minlength=256)
    if pixels[IGNORE] == labels.size:
        raise SourceError(f"{picture.label} would ignore every pixel; expected at least one class")
    expect_whole(picture.image)
    plain = orientation == UPRIGHT and options.levels is None
    place = folder / "images" / f"{name}{picture.image.suffix.lower() if plain else '.png'}"
    if plain:
        shutil.copyfile(picture.image, place)
    else:
        place.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    (folder / "labels" / f"{name}.png").write_bytes(cv2.imencode(".png", labels)[1].tobytes())
    return _Taken(place.name, size, pixels, orientation != UPRIGHT)


def _picture(path: Path, levels: tuple[int, int] | None) -> tuple[Frame, int]:
    if levels is not None:
        deep = decoded(path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        if deep.dtype == np.uint16:
            low, high = levels
            scaled = (deep.astype(np.float32) - low) * (255 / (high - low))
            return np.rint(scaled).clip(0, 255).astype(np.uint8), UPRIGHT
    try:
        return read_turned(path)
    except SourceError as error:
        if levels is None and "uint16" in str(error):
            raise SourceError(
                f"{str(error).split('; expected')[0]}; expected 8 bits. Say with --levels LOW HIGH what becomes black and white"
            ) from None
        raise


def unique_names(images: Sequence[Path]) -> list[str]:
    """Stems, with the folders before them where two are the same."""
    stems = Counter(path.stem for path in images)
    names, used = [], set[str]()
    for path in images:
        name = path.stem if stems[path.stem] == 1 else "_".join((*path.parts[-3:-1], path.stem))
        plain, number = name, 1
        while name in used:
            number += 1
            name = f"{plain}_{number}"
        used.add(name)
        names.append(name)
    return names


def _divided(
    taken: dict[Labelled, _Taken], options: Options, classes: int, table: NDArray[np.uint8]
) -> tuple[dict[str, str], str]:
    """File name → split."""
    own = {t.name: p.split for p, t in taken.items()}
    known = {split for split in own.values() if split}
    if "train" in known and "val" in known and not options.resplit:
        if strays := [name for name, split in own.items() if split is None]:
            log.warning("%d pictures that no list of the source names go to train, such as %s", len(strays), strays[0])
        return {name: split or "train" for name, split in own.items()}, "as the source has it"
    free = [t for p, t in taken.items() if options.resplit or p.split in (None, "train", "val")]
    holds = {
        t.name: frozenset(np.unique(table[np.flatnonzero(t.pixels)]).tolist()) & frozenset(range(classes)) for t in free
    }
    by_stem = {Path(name).stem: name for name in holds}
    found, how = split(
        list(by_stem), {stem: holds[name] for stem, name in by_stem.items()}, options.shares, options.seed
    )
    kept = {name: split for name, split in own.items() if split and name not in holds}
    return {**{by_stem[stem]: split for stem, split in found.items()}, **kept}, how


def _distribute(
    folder: Path, taken: dict[Labelled, _Taken], by_split: dict[str, str], table: NDArray[np.uint8]
) -> None:
    """Into images/SPLIT and labels/SPLIT, with the final ids."""
    same = np.array_equal(table, np.arange(256))
    for one in taken.values():
        split, stem = by_split[one.name], Path(one.name).stem
        for place, name in (("images", one.name), ("labels", f"{stem}.png")):
            (folder / place / split).mkdir(exist_ok=True)
            (folder / place / name).rename(folder / place / split / name)
        label = folder / "labels" / split / f"{stem}.png"
        if not same:
            staged = cv2.imdecode(np.frombuffer(label.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
            label.write_bytes(cv2.imencode(".png", table[staged])[1].tobytes())


def _examples(folder: Path, by_split: dict[str, str]) -> list[tuple[str, Frame, Labels]]:
    names = sorted(by_split)
    chosen = [names[round(i)] for i in np.linspace(0, len(names) - 1, min(preview.MOST, len(names)))]
    found = []
    for name in chosen:
        split = by_split[name]
        image = read_turned(folder / "images" / split / name)[0]
        labels = decoded(folder / "labels" / split / f"{Path(name).stem}.png", cv2.IMREAD_UNCHANGED)
        found.append((f"{split}: {name}", image, np.asarray(labels, np.uint8)))
    return found


__all__ = ["Made", "Options", "as_yaml", "assemble", "unique_names"]
