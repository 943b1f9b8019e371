"""`fastscnn-train`: a recipe becomes weights."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...runtime import install
from ...runtime.commands import command
from ...runtime.errors import DeviceError, UsageError

if TYPE_CHECKING:
    from .machine import Machine
    from .recipe import Recipe


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser(
        "fastscnn-train",
        "Train Fast-SCNN as a recipe says.",
        "fastscnn-train camvid data=camvid",
        "fastscnn-train cityscapes data=cityscapes batch=8 epochs=200 -o runs/short --resume",
        "fastscnn-train camvid data=camvid --folds 3 --settings camvid -o runs/folds --resume",
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
    parser.add_argument(
        "--folds",
        type=command.positive,
        metavar="N",
        help="cross-validate over train and val: N trainings, each without one of N groups of drives, on which it is scored",
    )
    parser.add_argument(
        "--settings",
        metavar="FILE",
        help="with --folds: YAML of names and the fields that each changes, or what ships (camvid); a table tells their worth",
    )
    return command.run(parser, _work, arguments, intermixed=True)


def _work(options: argparse.Namespace) -> None:
    os.environ.setdefault(
        "THP_MEM_ALLOC_ENABLE", "1"
    )  # PyTorch's large pages, asked for as it starts: 7% of a CPU's time
    try:
        from ..checkpoint import BEST
        from .machine import enter
        from .recipe import Recipe
        from .trainer import FINAL, Trainer
    except ImportError as error:
        raise DeviceError(
            f"training needs packages that cannot be imported ({error}). Install: {install.command('train')}"
        ) from None
    if options.settings and options.folds is None:
        raise UsageError("--settings are compared by cross-validation; expected --folds, too")
    try:
        recipe = Recipe.read(options.recipe, options.overrides)
        folder = options.output or Path("runs") / run_name(Path(options.recipe))
        machine = enter(recipe)
    except UsageError as error:
        if os.environ.get("RANK", "0") != "0":
            raise SystemExit(error.exit_code) from None  # the first of several processes says it
        raise
    with machine.together():
        if options.folds is not None:
            _cross_validate(options, recipe, machine)
            return
        trainer = Trainer(recipe, folder, machine, resume=options.resume)
        trainer.run()
        if machine.main:
            best = folder / BEST
            if trainer.task.validates:
                print(f"{best if best.exists() else folder / FINAL}: {trainer.task.score} {trainer.best:.2f}%")
            else:
                print(f"{folder / FINAL}: trained on {recipe.split}, which leaves nothing to score it on")


def _cross_validate(options: argparse.Namespace, recipe: Recipe, machine: Machine) -> None:
    from .crossvalidation import as_markdown, cross_validate, read_settings

    folder = options.output or Path("runs") / f"{run_name(Path(options.recipe))}-folds"
    settings = read_settings(options.settings) if options.settings else {}
    found = cross_validate(recipe, settings, folder, machine, groups=options.folds, resume=options.resume)
    if machine.main:
        print(as_markdown(recipe, found), end="")


def run_name(recipe: Path) -> str:
    """That of the recipe; of a data set's own recipe.yaml the data set's."""
    return recipe.resolve().parent.name if recipe.name == "recipe.yaml" and recipe.is_file() else recipe.stem


if __name__ == "__main__":
    raise SystemExit(main())
