"""The training loop: epochs over batches, and a state on disk from which a killed run goes on as if nothing had been."""

from __future__ import annotations

import io
import logging
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from ...runtime.artifacts.files import write_atomically
from ...runtime.commands.command import make_folder
from ...runtime.errors import ArtifactError, TrainingError, UsageError
from ..checkpoint import BEST, unpickled
from .journal import BALANCED, TRAINING, Journal
from .machine import Machine, reduced_precision
from .optimisation import averaged, optimizer, schedule
from .recipe import Recipe
from .samples import batches, loaders_alive
from .task import normalised, open_task
from .wide import widen

log = logging.getLogger(__name__)

STATE, FINAL = "last.pt", "final.safetensors"


class Trainer:
    """One run in one folder.

    The folder gets `last.pt` (everything that resuming needs), `best.safetensors` (the weights with the best validation
    score), `final.safetensors`, `recipe.yaml`, and the journal: `log.csv`, `curves.png` with every validation, `tensorboard/`.
    A recipe that trains on train and val together has no validation, and `best.safetensors` is not written.

    Randomness comes from (seed, epoch, process) alone, so the state needs no random states: epoch 7 sees the same images and
    the same dropout whether epoch 6 ended a second or a week before.

    Args:
        folder: written only by the first of several processes.
        resume: go on from `last.pt` if it is there.

    Raises:
        UsageError: the folder holds a run and `resume` is off, or one of another recipe or classes; the data set is not there.
        SourceError: labels or validation images that cannot be read, or that leave nothing to learn or to score.
        ArtifactError: a state or weights that are damaged.
    """

    def __init__(self, recipe: Recipe, folder: Path, machine: Machine, *, resume: bool = False) -> None:
        self.recipe, self.folder, self.machine = recipe, folder, machine
        state = None
        if machine.main:
            state = _state(folder / STATE, recipe, resume)
        state = machine.from_main(state)  # other machines need not see the folder
        torch.manual_seed(recipe.seed)
        self.task = open_task(replace(recipe, weights=None) if state else recipe)
        if state and state.get("classes", self.task.classes) != self.task.classes:
            raise UsageError(
                f"{folder / STATE} was trained on the classes {', '.join(state['classes'])}; now they are "
                f"{', '.join(self.task.classes)}. Restore their order, or start in a new folder"
            )
        if machine.main:
            self.task.check()
        machine.wait()
        self.steps = len(self.task.views) // machine.world // (recipe.batch // machine.world)
        if not self.steps:
            raise UsageError(
                f"batch is {recipe.batch}, but there are {len(self.task.views)} images; expected at least one batch"
            )
        module = self.task.module.to(machine.device)
        if recipe.channels_last:
            module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if machine.world > 1 and machine.device.type == "cuda":
            module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        self._reduced = reduced_precision(recipe, machine.device)
        if recipe.bfloat16 and machine.device.type == "cpu":  # where it is float32, too; other recipes stay as they are
            widen(module)
        self.module = module
        self._average = averaged(module, recipe)
        self._optimizer = optimizer(module, recipe)
        self._schedule = schedule(self._optimizer, recipe, self.steps)
        # bfloat16 has float32's range.
        self._scaler = torch.amp.GradScaler(machine.device.type, enabled=self._reduced is torch.float16)
        self.epoch, self.best, self.history = 0, -math.inf, list[dict[str, float]]()
        if state:
            self._restore(state)
        self._wrapped: nn.Module = DistributedDataParallel(module) if machine.world > 1 else module
        self._found = folder.exists()
        if machine.main:
            make_folder(folder)  # before hours of work end at it, and after all that a start can fail at

    def run(self) -> list[dict[str, float]]:
        """Train to the recipe's last epoch; gives one row of figures per epoch.

        Raises:
            TrainingError: a loss that is not a finite number, named with the images of the batch, or such weights; a process
                that loads images was killed.
            OutputError: the folder cannot be written.
            SourceError: an image or label that cannot be read.
        """
        try:
            with loaders_alive():
                return self._run()
        except BaseException:
            if self.machine.main and not self.epoch and not self._found:
                # A recipe and empty logs, from which nobody could go on.
                shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def _run(self) -> list[dict[str, float]]:
        if self.history and self._due() and self.history[-1].keys() <= TRAINING:
            self._score()  # it ended after the state of that epoch and before its validation
        journal = Journal(self.folder, self.recipe, self.history) if self.machine.main else None
        bar = tqdm(
            total=self.recipe.epochs * self.steps,
            initial=self.epoch * self.steps,
            unit=" steps",
            disable=None if self.machine.main else True,
        )
        epochs = range(self.epoch, self.recipe.epochs)
        drawn = batches(self.task.views, epochs, self.machine.rank, self.machine.world)
        with bar, journal or nullcontext(), closing(drawn):
            while self.epoch < self.recipe.epochs:
                bar.set_description(f"epoch {self.epoch + 1}/{self.recipe.epochs}")
                self.history.append(self._train(bar, drawn))
                self._save()  # a validation can fail, and the epoch is not to be lost with it
                if self._due():
                    self._score()
                if journal:
                    journal.write(self.history[-1])
                    log.info("%s", _as_text(self.history[-1]))
            self._finish(journal)
        return self.history

    def _due(self) -> bool:
        """Whether the epoch just trained is one to validate."""
        last = self.epoch == self.recipe.epochs
        return self.task.validates and (self.epoch % self.recipe.evaluate_every == 0 or last)

    def _score(self) -> None:
        self.history[-1] |= self._validate()
        self._save()

    @property
    def result(self) -> nn.Module:
        """What is evaluated and kept: the averaged module where the recipe averages."""
        return self._average.module if self._average else self.module

    def _train(self, bar: tqdm[Any], drawn: Iterator[Any]) -> dict[str, float]:
        began = time.monotonic()
        machine, recipe = self.machine, self.recipe
        torch.manual_seed(_mixed(recipe.seed, self.epoch, machine.rank))
        torch.empty(
            (), dtype=torch.int64
        ).random_()  # as the loader of each epoch drew it, so that older runs go on the same
        self.module.train()
        if recipe.freeze_norm:
            for layer in self.module.modules():
                if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                    layer.eval()
        total = 0.0
        rate = self._optimizer.param_groups[0]["lr"]
        for images, target, names in islice(drawn, self.steps):
            loss = self.step(images.to(machine.device, non_blocking=True), target.to(machine.device, non_blocking=True))
            if not math.isfinite(loss):
                listed = ", ".join(machine.gathered(names))
                raise TrainingError(
                    f"the loss is {loss} in epoch {self.epoch + 1}, at the images {listed}; expected a finite number. "
                    f"Check them, or {self._anew()}"
                )
            total += loss
            bar.update()
            bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
        self._expect_finite()
        self.epoch += 1
        return {
            "epoch": self.epoch,
            "loss": total / self.steps,
            "learning_rate": rate,
            "seconds": time.monotonic() - began,
        }

    def _expect_finite(self) -> None:
        """The loss is of the weights before a step: nothing looks at what the last step of an epoch made of them."""
        held = [self.module, *([self._average] if self._average else [])]
        tensors = [item for module in held for item in module.state_dict().items()]
        if broken := self.machine.gathered([name for name, tensor in tensors if not bool(tensor.isfinite().all())]):
            raise TrainingError(
                f"{broken[0]} and {len(broken) - 1} more tensors are not finite after the last step of epoch "
                f"{self.epoch + 1}; expected finite weights. To go on, {self._anew()}"
            )

    def _anew(self) -> str:
        """What to do about numbers that are not finite: a state goes on with its own recipe alone."""
        lower = f"start anew in another folder with a learning_rate below {self.recipe.learning_rate}"
        best = self.folder / BEST
        return f"{lower} and weights={best}" if self.recipe.task == "segmentation" and best.exists() else lower

    def step(self, images: Tensor, target: Tensor) -> float:
        """One step of the weights on a batch as `batches` gives it; the loss over all processes."""
        planes = normalised(images, self.recipe.channels_last, exact=self._reduced is not torch.bfloat16)
        with torch.autocast(self.machine.device.type, self._reduced, enabled=self._reduced is not None):
            outputs = self._wrapped(planes)
        losses = self.task.losses(outputs, target, planes)
        # Every process divides by the pixels of all, so that few labels in one do not weigh more than many in another.
        counts = self.machine.summed(torch.stack([count for _, count, _ in losses])).clamp(min=1)
        loss = torch.stack([w * s for s, _, w in losses]).div(counts).sum()
        self._optimizer.zero_grad(set_to_none=True)
        # DistributedDataParallel averages over the processes, the loss sums.
        self._scaler.scale(loss * self.machine.world).backward()  # type: ignore[no-untyped-call]
        scale = self._scaler.get_scale()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        if self._scaler.get_scale() >= scale:  # or the gradients overflowed and the weights stayed
            self._schedule.step()
            if self._average:
                self._average.update_parameters(self.module)
        return float(self.machine.summed(loss))

    def _finish(self, journal: Journal | None) -> None:
        if journal:
            if said := self.task.finish(self.result, self.machine.device):
                log.info("%s", said)
                if self.task.validates:
                    scores = self._scores()
                    log.info("%s", _as_text(scores))
                    row = {BALANCED + name: score for name, score in scores.items()}
                    self.history[-1] |= row  # not in the state: from there it is balanced again
                    journal.write({"epoch": self.epoch, **row})
            self.task.save(self.result, self.folder / FINAL)
        self.machine.wait()

    def _validate(self) -> dict[str, float]:
        scores = self._scores() if self.machine.main else {}
        self.machine.wait()
        return scores

    def _scores(self) -> dict[str, float]:
        """Of the weights as they are, which are kept if they are the best so far."""
        scores = self.task.validate(self.result, self.machine.device)
        if scores[self.task.score] > self.best:
            self.best = scores[self.task.score]
            self.task.save(self.result, self.folder / BEST)
        return scores

    def _save(self) -> None:
        if not self.machine.main:
            return
        state = {
            "classes": self.task.classes,
            "recipe": self.recipe.as_dict(),
            "epoch": self.epoch,
            "best": self.best,
            "history": self.history,
            "module": self.module.state_dict(),
            "average": self._average.state_dict() if self._average else None,
            "optimizer": self._optimizer.state_dict(),
            "schedule": {k: v for k, v in self._schedule.state_dict().items() if k != "lr_lambdas"},
            "scaler": self._scaler.state_dict(),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomically(self.folder / STATE, buffer.getvalue())

    def _restore(self, state: dict[str, Any]) -> None:
        try:
            self.module.load_state_dict(state["module"])
            if self._average:
                self._average.load_state_dict(state["average"])
            self._optimizer.load_state_dict(state["optimizer"])
            self._schedule.load_state_dict({**self._schedule.state_dict(), **state["schedule"]})
            self._take_rate()
            if self._scaler.is_enabled() and state["scaler"]:  # a run from a CPU has none
                self._scaler.load_state_dict(state["scaler"])
            self.epoch, self.best, self.history = state["epoch"], state["best"], state["history"]
        except (KeyError, ValueError, RuntimeError, TypeError) as error:
            raise ArtifactError(
                f"{self.folder / STATE} does not fit this recipe and version ({str(error).splitlines()[0]}); start in a new folder"
            ) from error
        log.info("going on after epoch %d of %d", self.epoch, self.recipe.epochs)

    def _take_rate(self) -> None:
        """The recipe's, which may be another than the state's where it is constant."""
        for group in self._optimizer.param_groups:
            group["lr"] *= self.recipe.learning_rate / group["initial_lr"]
            group["initial_lr"] = self.recipe.learning_rate
        self._schedule.base_lrs = [self.recipe.learning_rate] * len(self._optimizer.param_groups)


def _state(path: Path, recipe: Recipe, resume: bool) -> dict[str, Any] | None:
    if not path.exists():
        return None
    if not resume:
        raise UsageError(
            f"{path.parent} holds a run already. Add --resume to go on with it, or choose another folder with -o"
        )
    state: Any = unpickled(path)
    if not isinstance(state, dict) or not isinstance(state.get("recipe"), dict):
        raise ArtifactError(f"{path} is not a training state of this project; start in a new folder")
    known = Recipe.of(state["recipe"])
    changed = known.differing(recipe)
    if changed and not (known.power == recipe.power == 0 and set(changed) <= {"epochs", "learning_rate"}):
        listed = ", ".join(f"{name}={getattr(known, name)!r} (now {getattr(recipe, name)!r})" for name in changed)
        best = path.with_name(BEST)
        onwards = f"weights={best}" if known.task == "segmentation" and best.exists() else "the recipe that it had"
        rate = {"epochs", "learning_rate"} & set(changed)
        why = ", because the rate falls with the share of all epochs that is done" if rate else ""
        raise UsageError(
            f"{path} was trained with {listed}; expected the same recipe{why}. Restore it, or start in a new folder, with {onwards}"
        )
    if changed:
        log.warning(
            "going on with %s: the rate is constant", ", ".join(f"{name}={getattr(recipe, name)}" for name in changed)
        )
    return state


def _mixed(seed: int, epoch: int, rank: int) -> int:
    return int(np.random.SeedSequence((seed, epoch, rank)).generate_state(1, np.uint64)[0] >> 1)


def _as_text(row: dict[str, float]) -> str:
    text = [f"epoch {int(row['epoch'])}: loss {row['loss']:.4f}, {row['seconds']:.0f} s"] if "epoch" in row else []
    scores = [f"{name} {row[name]:.2f}%" for name in ("mean_iou", "pixel_accuracy", "top1", "top5") if name in row]
    return ", ".join([*text, *scores])
