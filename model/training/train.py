"""`fastscnn-train`: a recipe becomes weights."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from ...runtime import install
from ...runtime.commands import command
from ...runtime.errors import DeviceError, UsageError


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser(
        "fastscnn-train",
        "Train Fast-SCNN as a recipe says.",
        "fastscnn-train camvid data=camvid",
        "fastscnn-train cityscapes data=cityscapes batch=8 epochs=200 -o runs/short --resume",
        "torchrun --nproc-per-node 4 -m fastscnn.model.training.train cityscapes data=cityscapes",
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
        from .trainer import FINAL, Trainer
    except ImportError as error:
        raise DeviceError(
            f"training needs packages that cannot be imported ({error}). Install: {install.command('train')}"
        ) from None
    try:
        recipe = Recipe.read(options.recipe, options.overrides)
        folder = options.output or Path("runs") / run_name(Path(options.recipe))
        machine = enter(recipe)
    except UsageError as error:
        if os.environ.get("RANK", "0") != "0":
            raise SystemExit(error.exit_code) from None  # the first of several processes says it
        raise
    with machine.together():
        trainer = Trainer(recipe, folder, machine, resume=options.resume)
        trainer.run()
        if machine.main:
            best = folder / BEST
            print(f"{best if best.exists() else folder / FINAL}: {trainer.task.score} {trainer.best:.2f}%")


def run_name(recipe: Path) -> str:
    """That of the recipe; of a data set's own recipe.yaml the data set's."""
    return recipe.resolve().parent.name if recipe.name == "recipe.yaml" and recipe.is_file() else recipe.stem


if __name__ == "__main__":
    raise SystemExit(main())
