"""`python -m fastscnn.benchmarks.training`: images a second of training, with what a recipe wants now and wanted before, in turns."""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..model.street import Street
from ..runtime import install
from ..runtime.artifacts.artifact import IGNORE
from ..runtime.artifacts.files import write_atomically
from ..runtime.commands import command
from ..runtime.errors import DeviceError
from . import suite
from .machine import machine, sentence

_DRAWN = 24  # pictures of a street in CamVid's layout and size, where no data is named
_SIZE = (360, 480)
_CAMERA = ("saturation", "hue", "gamma", "shadow", "rain", "blur", "noise", "jpeg", "mix")

# What the recipe `camvid` was in version 0.1, as far as it costs time.
BEFORE: Mapping[str, Any] = {
    "bfloat16": False,
    "label_stride": 2,
    "workers": 0,
    "cache": 0,
    **dict.fromkeys(_CAMERA, 0.0),
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser(
        "python -m fastscnn.benchmarks.training",
        "Time training steps, loading included, with the options of before and of now, in turns.",
        "python -m fastscnn.benchmarks.training --data camvid --device cpu",
    )
    parser.add_argument("--recipe", default="camvid", metavar="NAME", help="one that ships, or a YAML file")
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", help="a data set; default: a drawn street in CamVid's layout"
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="what to train on")
    parser.add_argument("--threads", default=0, type=command.whole, metavar="N", help="of PyTorch; 0: its own choice")
    parser.add_argument("--workers", type=command.whole, metavar="N", help="processes that load; default: the recipe's")
    parser.add_argument("--rounds", default=7, type=command.positive, metavar="N", help="turns of each way")
    parser.add_argument("--steps", default=4, type=command.positive, metavar="N", help="in one turn")
    return suite.run("training", parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    try:
        import torch

        from ..model.training.machine import enter
        from ..model.training.recipe import Recipe
        from ..model.training.samples import batches
        from ..model.training.trainer import Trainer
    except ImportError as error:
        raise DeviceError(f"training needs {error.name}. Install: {install.command('train')}") from None
    command.make_folder(options.output)
    facts = machine()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        fixed = {
            "data": str(options.data or drawn(folder / "data")),
            "device": options.device,
            "threads": options.threads,
            "opening": 0,  # which draws for a minute, and then costs what other epochs do
        }
        now = Recipe.read(options.recipe, ["data=x"])
        if options.workers is not None:
            fixed["workers"] = options.workers
        recipes = {
            name: Recipe.of({**now.as_dict(), **changes, **fixed}) for name, changes in ways(now.as_dict()).items()
        }
        trainers = {
            name: Trainer(recipe, folder / str(index), enter(recipe))
            for index, (name, recipe) in enumerate(recipes.items())
        }
        drawing: dict[str, Generator[Any, None, None]] = {
            name: batches(trainer.task.views, range(10**6), 0, 1) for name, trainer in trainers.items()
        }
        for trainer in trainers.values():  # what a run has kept after its first epoch
            if trainer.recipe.cache and not trainer.recipe.workers:
                for index in range(len(trainer.task.views)):
                    trainer.task.views.item(index)
        seconds: dict[str, list[float]] = {name: [] for name in trainers}
        cpu: dict[str, list[float]] = {name: [] for name in trainers}
        for turn in range(options.rounds + 1):
            for name, trainer in trainers.items():
                trainer.module.train()
                for _ in range(options.steps):
                    began, used = time.perf_counter(), time.process_time()
                    images, target, _ = next(drawing[name])
                    trainer.step(images.to(trainer.machine.device), target.to(trainer.machine.device))
                    if turn:  # the first warms up
                        seconds[name].append(time.perf_counter() - began)
                        cpu[name].append(time.process_time() - used)
        for stream in drawing.values():
            stream.close()
    report = {
        "command": options.command,
        "machine": facts,
        "device": options.device,
        "recipe": options.recipe,
        "crop": list(now.crop),
        "threads": torch.get_num_threads(),
        "batch": now.batch,
        "steps": options.rounds * options.steps,
        "data": options.data.name if options.data else "a drawn street",
        "ways": {
            name: {
                "changes": ways(now.as_dict())[name],
                "images_per_second": now.batch / statistics.median(seconds[name]),
                "images_per_second_at_best": now.batch / min(seconds[name]),
                "cpu_milliseconds_per_image": 1e3 * statistics.median(cpu[name]) / now.batch,
            }
            for name in trainers
        },
    }
    print(as_table(report))
    command.write_json(str(options.output / "training.json"), report)
    write_atomically(options.output / "training.md", as_markdown(report).encode())


def ways(now: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Before, now, and before with one group of changes at a time; name → fields that win over the recipe of now."""
    before = {key: value for key, value in BEFORE.items() if now[key] != value}
    found = {"before": before}
    for name in before:
        if name not in _CAMERA and name != "workers":
            found[f"before, with {name}={now[name]}"] = {k: v for k, v in before.items() if k != name}
    if any(name in before for name in _CAMERA):
        found["now, without the camera's part"] = {key: BEFORE[key] for key in before if key in _CAMERA}
    return {**found, "now": {}}


def as_table(report: Mapping[str, Any]) -> str:
    """Markdown: a row for each way."""
    measured = report["ways"]
    first = measured["before"]
    lines = [
        "| options | images/s, median | images/s, best | beside before, median | best | CPU ms an image | beside before |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, found in measured.items():
        rate, best, cpu = (
            found[k] for k in ("images_per_second", "images_per_second_at_best", "cpu_milliseconds_per_image")
        )
        lines.append(
            f"| {name} | {rate:.2f} | {best:.2f} | {rate / first['images_per_second']:.2f} "
            f"| {best / first['images_per_second_at_best']:.2f} | {cpu:.0f} "
            f"| {cpu / first['cpu_milliseconds_per_image']:.2f} |"
        )
    return "\n".join(lines)


def as_markdown(report: Mapping[str, Any]) -> str:
    height, width = report["crop"]
    was = ", ".join(f"{key}={value}" for key, value in report["ways"]["before"]["changes"].items())
    return f"""# Speed of training

Made by `{report["command"]}`.

Recipe `{report["recipe"]}` on {report["data"]}: crops of {height}x{width}, batches of {report["batch"]}, whole steps with loading, on {report["device"]},
PyTorch with {report["threads"]} threads; medians of {report["steps"]} steps of each way, all ways in turns. Before: {was}.

{as_table(report)}

{sentence(report["machine"])}; load before: {report["machine"].get("load_before", "unknown")}.
"""


def drawn(root: Path) -> Path:
    """Pictures of a drawn street in CamVid's layout, train and val the same; gives the folder."""
    street = Street(*_SIZE, classes="camvid")
    folders = [(root / split, root / f"{split}annot") for split in ("train", "val")]
    for folder in itertools.chain(*folders):
        folder.mkdir(parents=True)
    for index in range(_DRAWN):
        image, labels = street.frame(17 * index)
        known = np.where(labels == IGNORE, 11, labels)  # CamVid's number for what has no label
        for pictures, masks in folders:
            cv2.imwrite(str(pictures / f"street_{index:03d}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
            cv2.imwrite(str(masks / f"street_{index:03d}.png"), known)
    return root


if __name__ == "__main__":
    raise SystemExit(main())
