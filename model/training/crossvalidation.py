"""What a setting is worth: trained once for each drive, which it does not see, and scored on it.

Nothing is chosen on the drive that scores: each run ends after the recipe's epochs, and its last weights count. A run that is
finished is not run again, and one that was killed goes on.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...runtime.artifacts.files import write_atomically
from ...runtime.commands.command import did_you_mean, make_folder
from ...runtime.errors import ArtifactError, TrainingError, UsageError
from ...runtime.text import shown
from .. import calibration, checkpoint
from ..calibration import Fitted, Group
from ..datasets import Dataset
from ..drives import folds
from ..evaluate import evaluate
from ..inference import Network, sampled
from ..metrics import Confusion
from ..plain_yaml import read
from .machine import Machine
from .parts import labelled, parts
from .recipe import Recipe
from .trainer import FINAL, Trainer

log = logging.getLogger(__name__)

SHIPPED = Path(__file__).parent / "settings"
BASE = "the recipe"
_RESULT, _PIXELS = "result.json", "pixels.safetensors"
_PIXELS_PER_IMAGE = 1000


@dataclass(frozen=True)
class Fold:
    """One run's score on the drives that it did not see."""

    drives: tuple[str, ...]
    confusion: Confusion
    pixels: Group  # some of them, with the logits that labels are taken from
    balanced: tuple[float, ...]
    seconds: float  # of training


@dataclass(frozen=True)
class Setting:
    """What became of one setting."""

    name: str
    changes: dict[str, Any]
    folds: list[Fold]
    failure: str = ""  # why a run of it ended

    def scores(self) -> dict[str, float]:
        """Mean IoU of each fold, from 0 to 1."""
        return {", ".join(fold.drives): fold.confusion.mean_iou() for fold in self.folds}

    def pooled(self) -> Confusion:
        """Over all folds, each frame once."""
        total = Confusion(len(self.folds[0].confusion.counts))
        total.counts = np.sum([fold.confusion.counts for fold in self.folds], axis=0)
        return total

    def calibration(self) -> dict[str, Fitted]:
        """By head, cross-validated over the folds."""
        found = {}
        for head in calibration.HEADS:
            groups = [group for fold in self.folds for group in calibration.as_head([fold.pixels], fold.balanced, head)]
            found[head] = calibration.fitted(groups)
        return found


def read_settings(path: str) -> dict[str, dict[str, Any]]:
    """Name → fields of a recipe, from YAML; the name of one that ships will do.

    Raises:
        UsageError: no such file, not YAML, or not names with fields below.
    """
    file = Path(path)
    if not file.is_file() and file.parent == Path():
        file = SHIPPED / f"{file.stem}.yaml"
        if not file.exists():
            known = sorted(p.stem for p in SHIPPED.glob("*.yaml"))
            raise UsageError(
                f"{path} is neither a file nor settings that ship ({', '.join(known)}).{did_you_mean(path, known)}"
            )
    try:
        content: Any = read(file)
    except UsageError as error:
        raise UsageError(f"{path} cannot be read as YAML ({error}); expected `name: {{field: value}}` lines") from error
    if not isinstance(content, dict) or not all(isinstance(v, dict) or v is None for v in content.values()):
        raise UsageError(f"{path} does not hold names with fields of a recipe; expected `name: {{field: value}}` lines")
    found = {str(name): dict(fields or {}) for name, fields in content.items()}
    slugs = [_slug(name) for name in found]
    if len(set(slugs)) < len(slugs):
        raise UsageError(
            f"{path} has two names that give the same folder; expected names that differ in letters or digits"
        )
    return found


def cross_validate(
    recipe: Recipe,
    settings: Mapping[str, Mapping[str, Any]],
    folder: Path,
    machine: Machine,
    *,
    groups: int,
    resume: bool = False,
) -> list[Setting]:
    """Train the recipe, and with each setting's changes, once for every fold; writes a table after each run.

    Args:
        settings: name → fields that win over the recipe's; `{fold}` in `teacher` and `weights` becomes the fold's folder, so that
            what teaches a run has not seen what scores it either.
        groups: of drives, each held out once; at most as many as there are drives.
        resume: keep what is in the folder already.

    Raises:
        UsageError: one drive alone, unknown fields, a folder that holds other runs.
        OutputError: the folder cannot be written.
    """
    everything = labelled(replace(recipe, split="train+val", holdout=""))
    held = folds(everything, groups)
    planned = {BASE: recipe, **{name: _changed(recipe, name, changes) for name, changes in settings.items()}}
    if folder.exists() and any(folder.iterdir()) and not resume:
        raise UsageError(
            f"{folder} holds runs already. Add --resume to go on with them, or choose another folder with -o"
        )
    if machine.main:
        make_folder(folder)
    machine.wait()
    found: list[Setting] = []
    for name, planned_recipe in planned.items():
        done = Setting(name, dict(settings.get(name, {})), [])
        found.append(done)
        for drives in held:
            fold = _slug("-".join(drives))
            run = replace(
                planned_recipe,
                split="train+val",
                holdout=",".join(drives),
                evaluate_every=planned_recipe.epochs,
                teacher=_of_fold(planned_recipe.teacher, fold),
                weights=_of_fold(planned_recipe.weights, fold),
            )
            log.info("%s, without %s", name, run.holdout)
            place = folder / _slug(name) / fold
            finished = (place / _RESULT).exists()  # then there is nothing new for the tables, which take seconds
            try:
                done.folds.append(_run(run, place, machine, drives))
            except TrainingError as error:
                found[-1] = replace(done, failure=str(error))
                log.warning("%s: %s", name, error)
                break
            if machine.main and not finished:
                _write(folder, recipe, found)
    if machine.main:
        _write(folder, recipe, found)
    return found


def as_markdown(recipe: Recipe, found: Sequence[Setting]) -> str:
    """Tables of all settings: by drive, and by class over all drives; per cent."""
    whole = [setting for setting in found if setting.folds and len(setting.folds) == len(found[0].folds)]
    if not whole:
        return "# Cross-validation by drive\n\nNo run is finished.\n"
    base = _mean(whole[0])
    drives = list(whole[0].scores())
    lines = [
        "# Cross-validation by drive",
        "",
        f"{recipe.epochs} epochs unless the setting says otherwise, seed {recipe.seed}; each column is scored by the run that did not see that "
        "drive, mean IoU in per cent. The last columns are of all drives together: mean IoU, and expected calibration error "
        "of the prob head without and with a temperature that the other drives gave.",
        "",
        f"| setting | {' | '.join(drives)} | mean | worth | pooled | error | calibrated | temperature=prob,cls | minutes |",
        "|---" + "|---:" * (len(drives) + 7) + "|",
    ]
    for setting in whole:
        fits = setting.calibration()
        prob, cls = (fits[head] for head in calibration.HEADS)
        changes = ", ".join(f"{key}={value}" for key, value in setting.changes.items())
        cells = [
            f"{setting.name}{f' ({changes})' if changes else ''}",
            *(f"{100 * score:.1f}" for score in setting.scores().values()),
            f"{100 * _mean(setting):.1f}",
            f"{100 * (_mean(setting) - base):+.1f}",
            f"{100 * setting.pooled().mean_iou():.1f}",
            f"{100 * prob.before:.1f}",
            f"{100 * prob.after:.1f}",
            f"{prob.temperature:.3f},{cls.temperature:.3f}",
            f"{sum(fold.seconds for fold in setting.folds) / 60:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [f"\n{s.name} failed: {s.failure}" for s in found if s.failure]
    names = list(labelled(replace(recipe, holdout="")).classes.classes)
    lines += ["", "## By class, all drives together", "", f"| class | {' | '.join(s.name for s in whole)} |"]
    lines.append("|---" + "|---:" * len(whole) + "|")
    columns = [setting.pooled().class_iou() for setting in whole]
    for index, name in enumerate(names):
        lines.append(f"| {name} | {' | '.join(f'{100 * column[index]:.1f}' for column in columns)} |")
    return "\n".join(lines) + "\n"


def as_json(found: Sequence[Setting], names: Sequence[str]) -> dict[str, Any]:
    """By setting; shares from 0 to 1, null for classes that a drive does not have."""
    return {
        setting.name: {
            "changes": setting.changes,
            "failure": setting.failure or None,
            "mean_iou": setting.scores(),
            "class_iou": {", ".join(fold.drives): _by_class(fold.confusion, names) for fold in setting.folds},
            "seconds": [fold.seconds for fold in setting.folds],
            **(_over_all(setting, names) if setting.folds else {}),
        }
        for setting in found
    }


def _over_all(setting: Setting, names: Sequence[str]) -> dict[str, Any]:
    return {
        "pooled_iou": _by_class(setting.pooled(), names),
        "calibration": {head: vars(fit) for head, fit in setting.calibration().items()},
    }


def _by_class(confusion: Confusion, names: Sequence[str]) -> dict[str, float | None]:
    return {
        name: None if np.isnan(value) else value
        for name, value in zip(names, confusion.class_iou().tolist(), strict=True)
    }


def _write(folder: Path, recipe: Recipe, found: Sequence[Setting]) -> None:
    names = labelled(replace(recipe, holdout="")).classes.classes
    write_atomically(folder / "settings.md", as_markdown(recipe, found).encode())
    write_atomically(folder / "settings.json", (json.dumps(as_json(found, names), indent=2) + "\n").encode())


def _run(recipe: Recipe, folder: Path, machine: Machine, drives: tuple[str, ...]) -> Fold:
    if not (folder / _RESULT).exists():
        trainer = Trainer(recipe, folder, machine, resume=True)
        history = trainer.run()
        if machine.main:
            _score(recipe, folder, machine, sum(row["seconds"] for row in history))
        machine.wait()
    return _fold(recipe, folder, drives)


def _score(recipe: Recipe, folder: Path, machine: Machine, seconds: float) -> None:
    from safetensors.torch import save

    held: Dataset | None = parts(recipe)[1]
    assert held is not None
    source = checkpoint.load(folder / FINAL)
    predict = Network(source, machine.device.type)
    scores = evaluate(predict, held, progress=False)
    plain = replace(source, temperature=(1.0, 1.0))
    logits, labels = sampled(Network(plain, machine.device.type), held.samples, held, _PIXELS_PER_IMAGE)
    write_atomically(folder / _PIXELS, save({"logits": logits.contiguous(), "labels": labels}))
    report = {
        "recipe": recipe.as_dict(),
        "confusion": scores.confusion.counts.tolist(),
        "balanced": source.balanced,
        "seconds": seconds,
    }
    write_atomically(folder / _RESULT, (json.dumps(report) + "\n").encode())


def _fold(recipe: Recipe, folder: Path, drives: tuple[str, ...]) -> Fold:
    from safetensors.torch import load

    try:
        report = json.loads((folder / _RESULT).read_text())
        known = Recipe.of(report["recipe"])
        confusion = Confusion(len(report["confusion"]))
        confusion.counts = np.array(report["confusion"], np.int64)
        tensors = load((folder / _PIXELS).read_bytes())
        pixels: Group = tensors["logits"], tensors["labels"].to(torch.uint8)
        fold = Fold(drives, confusion, pixels, tuple(report["balanced"]), float(report["seconds"]))
    except Exception as error:  # whatever was done to the file
        raise ArtifactError(
            f"{folder / _RESULT} cannot be read ({shown(error):.200}); remove {folder}, and it is run again"
        ) from error
    if changed := known.differing(recipe):
        listed = ", ".join(f"{name}={getattr(known, name)!r} (now {getattr(recipe, name)!r})" for name in changed)
        raise UsageError(f"{folder} was trained with {listed}; expected the same recipe. Choose another folder with -o")
    return fold


def _changed(recipe: Recipe, name: str, changes: Mapping[str, Any]) -> Recipe:
    try:
        return Recipe.of({**recipe.as_dict(), **changes})
    except UsageError as error:
        raise UsageError(f"setting {name!r}: {error}") from error


def _of_fold(files: str | None, fold: str) -> str | None:
    return None if files is None else files.replace("{fold}", fold)


def _mean(setting: Setting) -> float:
    return float(np.mean(list(setting.scores().values())))


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name.lower()).strip("-.") or "setting"
