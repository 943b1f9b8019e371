"""`fastscnn-train`: a recipe becomes weights."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ...runtime.commands import command
from ...runtime.errors import DeviceError


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser(
        "fastscnn-train",
        "Train Fast-SCNN as a recipe says. Several GPUs: torchrun --nproc-per-node N -m fastscnn.model.training.train …",
    )
    parser.add_argument(
        "recipe", metavar="CONFIG.yaml", help="a recipe, or the name of one that ships: cityscapes, camvid, …"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="fields that win over the recipe's")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FOLDER", help="of the run; default: runs/NAME OF THE RECIPE"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in that folder, if there is one")
    return command.run(parser, _work, arguments, intermixed=True)


def _work(options: argparse.Namespace) -> None:
    try:
        from ..checkpoint import BEST
        from .machine import enter
        from .recipe import Recipe
        from .trainer import Trainer

        recipe = Recipe.read(options.recipe, options.overrides)
    except ImportError as error:
        raise DeviceError(
            f"training needs packages that cannot be imported ({error}). Install: pip install 'fastscnn[train]'"
        ) from None
    folder = options.output or Path("runs") / Path(options.recipe).stem
    machine = enter(recipe)
    try:
        trainer = Trainer(recipe, folder, machine, resume=options.resume)
        trainer.run()
        if machine.main:
            print(f"{folder / BEST}: {trainer.task.score} {trainer.best:.2f}%")
    finally:
        machine.leave()


if __name__ == "__main__":
    raise SystemExit(main())
