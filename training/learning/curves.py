"""One page of curves of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vpr_ros.files.atomic_file import replacing_file

#: What each panel shows: title, and the figures in it with their names. Recalls before training are epoch 0.
PANELS: dict[str, dict[str, str]] = {
    "recall on validation": {"recall@1": "recall@1", "recall@5": "recall@5", "recall@10": "recall@10"},
    "loss": {"loss": "mean over queries"},
    "violating": {
        "violating": "queries with a violating negative",
        "still_violating": "triplets that violate in their step",
    },
    "learning rate": {"learning_rate": "learning rate"},
}


def draw_curves(file: Path, history: Sequence[Mapping[str, float]], title: str) -> None:
    """Write a PNG of a run's figures by epoch.

    Args:
        file: written whole.
        history: an entry an epoch with its "epoch", counted from 1, and the figures; 0 is before training.
        title: in words.
    """
    figure = Figure(figsize=(11, 7), layout="constrained")
    figure.suptitle(title)
    for axis, (name, curves) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
        for key, label in curves.items():
            points = [(entry["epoch"], entry[key]) for entry in history if key in entry]
            axis.plot(*zip(*points, strict=True) if points else ([], []), marker=".", label=label)
        axis.set_title(name)
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        if len(curves) > 1:
            axis.legend()
        if name in ("violating", "loss", "learning rate"):
            axis.set_ylim(bottom=0)
    with replacing_file(file) as partial:
        figure.savefig(partial, dpi=110, format="png")
