"""What a run leaves to look at: a CSV, a PNG of the curves, TensorBoard's events."""

from __future__ import annotations

import csv
import io
import logging
from pathlib import Path
from typing import Any

from ...runtime import install
from ...runtime.artifacts.files import write_atomically
from .recipe import Recipe

TRAINING = frozenset({"epoch", "loss", "learning_rate", "seconds"})  # the other columns are validation's
BALANCED = "balanced_"  # before a score's name: after the recipe's last touch, which `balance` gives the weights

log = logging.getLogger(__name__)


class Journal:
    """Writes every epoch's row as it comes.

    The files are first brought up to `history`: a run may have been killed between its state and its journal.
    """

    def __init__(self, folder: Path, recipe: Recipe, history: list[dict[str, float]]) -> None:
        import yaml

        write_atomically(folder / "recipe.yaml", yaml.safe_dump(recipe.as_dict(), sort_keys=False).encode())
        self._folder, self._history = folder, history
        self._board = _board(folder / "tensorboard", len(history))
        if history:
            self.write(history[-1])

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._board:
            self._board.close()

    def write(self, row: dict[str, float]) -> None:
        """`row` is the last of the history already, or what was added to that."""
        write_atomically(self._folder / "log.csv", as_csv(self._history).encode())
        if not row.keys() <= TRAINING or not (self._folder / "curves.png").exists():
            write_atomically(self._folder / "curves.png", curves(self._history))
        if self._board:
            for name, value in row.items():
                if name != "epoch":
                    self._board.add_scalar(name.replace("iou_", "iou/", 1), value, int(row["epoch"]))
            self._board.flush()


def as_csv(history: list[dict[str, float]]) -> str:
    """A line per epoch; cells of epochs without validation are empty."""
    names = list(dict.fromkeys(name for row in history for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()


def curves(history: list[dict[str, float]]) -> bytes:
    """PNG of the loss and of the scores over the epochs."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
    left.plot([row["epoch"] for row in history], [row["loss"] for row in history])
    left.set(xlabel="epoch", ylabel="loss", title="training loss", ylim=(0, None))
    scored = [row for row in history if not row.keys() <= TRAINING]
    hidden = (*TRAINING, f"{BALANCED}iou_")
    for name in dict.fromkeys(name for row in scored for name in row if not name.startswith(hidden)):
        chief = not name.startswith("iou_")
        points = [(row["epoch"], row[name]) for row in scored if name in row]
        right.plot(
            *zip(*points, strict=True),
            label=name.removeprefix("iou_").replace("_", " "),
            linewidth=2.5 if chief else 0.8,
            marker="o" if len(points) == 1 else None,  # a line would not show it
            alpha=1 if chief else 0.7,
        )
    right.set(xlabel="epoch", ylabel="%", title="validation", ylim=(0, 100))
    if scored:
        right.legend(fontsize=7, ncols=2, loc="lower right")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    pyplot.close(figure)
    return buffer.getvalue()


def _board(folder: Path, epochs: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.warning("no TensorBoard logs; install them with: %s", install.command("train"))
        return None
    return SummaryWriter(str(folder), purge_step=epochs or None)
