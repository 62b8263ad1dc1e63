"""What a run leaves on disk, and whether a run may begin or go on there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from vpr_ros.errors import InputError
from vpr_ros.files.atomic_file import replacing_file


class RunFolder:
    """The files of a run.

    Attributes:
        weights: the result: the best weights, with their whitening.
        best: the best weights so far, without whitening.
        checkpoint: the last state, to go on from.
        config: every option of the run, as --config takes it.
        curves: a picture of the figures by epoch.
        history: the figures by epoch.
        logs: of TensorBoard.
        cache: what only the running program needs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.weights = folder / "weights.safetensors"
        self.best = folder / "best.safetensors"
        self.checkpoint = folder / "last.ckpt"
        self.config = folder / "config.yaml"
        self.curves = folder / "curves.png"
        self.history = folder / "history.json"
        self.logs = folder / "logs"
        self.cache = folder / "cache"

    def check(self, resume: bool) -> None:
        """Raise InputError where beginning a run would lose another, or where there is none to go on with."""
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder}: is a file: expected a folder, or a name for a new one")
        if resume and not self.checkpoint.is_file():
            raise InputError(f"{self.checkpoint}: no run to go on with: leave --resume out")
        if not resume and (self.checkpoint.exists() or self.weights.exists()):
            raise InputError(f"{self.folder}: holds a run: --resume to go on with it, or another --out")

    def write_config(self, options: Mapping[str, Any]) -> None:
        """Write every option down, as --config takes them."""
        with replacing_file(self.config) as partial:
            partial.write_text(yaml.safe_dump(dict(options), sort_keys=False))


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Raise InputError, naming the option, where a run would go on differently from how it began."""
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise InputError(
                f"{folder}: its run has {name} {before.get(name)}, now it is {now.get(name)}: go on with the "
                f"same, or begin another run with another --out"
            )
