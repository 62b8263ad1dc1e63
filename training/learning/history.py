"""The figures of a run, epoch by epoch: kept, logged, drawn."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import cast

from torch.utils.tensorboard import SummaryWriter

from training.learning.curves import draw_curves
from training.learning.run_folder import RunFolder
from vpr_ros.files.atomic_file import replacing_file

Figures = dict[str, float]


class History:
    """Entry n holds the figures after n epochs; entry 0 those before training.

    Args:
        entries: so far.
        asked: how often a validation image is looked for: what recall is a share of.

    Attributes:
        entries: a dict of figures each, with "epoch" and recall@N.
        whitened: the recalls of the best epoch's weights with their whitening, when they are known.
    """

    def __init__(self, entries: list[Figures], asked: int) -> None:
        self.entries = entries
        self._asked = asked
        self.whitened: Figures | None = None

    def add(self, figures: Mapping[str, float]) -> bool:
        """Add the next entry; return whether it is the best so far."""
        self.entries.append({"epoch": len(self.entries), **figures})
        return self.best == len(self.entries) - 1

    @property
    def highest(self) -> int:
        """The epoch of the highest recall@5; among equals that of the highest recall@1, then @10."""
        ranks = [tuple(entry[f"recall@{n}"] for n in (5, 1, 10)) for entry in self.entries]
        return ranks.index(max(ranks))

    @property
    def best(self) -> int:
        """The last epoch whose recall@5 is not told from the highest: within a standard error, or one query.

        With few images nearly all are found from the start: the highest recall is then that of the first
        epochs by chance, and whoever takes it has not trained.
        """
        highest = self.entries[self.highest]["recall@5"]
        error = max(1.0, math.sqrt(self._asked * highest * (1 - highest))) / self._asked
        enough = highest - error - 1e-9  # of rounding
        return max(epoch for epoch, entry in enumerate(self.entries) if entry["recall@5"] >= enough)

    def stale(self, patience: int) -> bool:
        """Return whether the highest is that many epochs ago; never, for a patience of 0."""
        return 0 < patience <= len(self.entries) - 1 - self.highest

    def line(self) -> str:
        """Return the last entry in words."""
        entry, best = self.entries[-1], self.entries[self.best]
        recalls = recall_words(entry)
        if not entry["epoch"]:
            return f"before training: {recalls}"
        return (
            f"epoch {entry['epoch']}: loss {entry['loss']:.4f}, {entry['violating']:.0%} violating, "
            f"{entry['still_violating']:.0%} of their triplets still; {recalls}; best R@5 "
            f"{best['recall@5']:.3f} after {best['epoch']}; mining {entry['mining_seconds']:.0f} s, steps "
            f"{entry['training_seconds']:.0f} s"
        )

    def write(self, folder: RunFolder, title: str) -> None:
        """Write the figures and their curves."""
        with replacing_file(folder.history) as partial:
            figures = {"epochs": self.entries, "best": self.best, "whitened": self.whitened}
            partial.write_text(json.dumps(figures, indent=1))
        draw_curves(folder.curves, self.entries, title)


def recall_words(figures: Mapping[str, float]) -> str:
    """Return recall@1, 5 and 10 as people read them."""
    return "  ".join(f"R@{n} {figures[f'recall@{n}']:.3f}" for n in (1, 5, 10))


class Log:
    """TensorBoard's view of a history; what an interrupted run had logged beyond it is purged."""

    def __init__(self, folder: RunFolder, history: History) -> None:
        known = len(history.entries)
        self._writer = SummaryWriter(str(folder.logs), purge_step=known - 1 if known else None)
        if known:  # a run that was killed may not have logged its last entry
            self.add(history)

    def add(self, history: History) -> None:
        """Log the last entry."""
        entry = history.entries[-1]
        for name, value in entry.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, cast(int, entry["epoch"]))
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
