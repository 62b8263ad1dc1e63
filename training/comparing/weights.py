"""Weights for the rows of the paper's comparison, learnt from the same images."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from training.comparing.parts import Parts
from training.comparing.rows import Row
from training.learning.augmentation import Augmentation
from training.learning.checkpoint import load_checkpoint
from training.learning.fabric import start_fabric
from training.learning.hand_crafted import learn_aggregate, whitened
from training.learning.initialise import Whiten
from training.learning.inputs import Cache
from training.learning.mining import Mining
from training.learning.model import Model, trunk_file
from training.learning.optimisation import Optimisation
from training.learning.run import TrainingRun
from training.learning.run_folder import RunFolder
from training.learning.supervision import Radii
from vpr_ros.encoders.hand_crafted import HandCrafted, load_hand_crafted, save_hand_crafted
from vpr_ros.engine import choose_device
from vpr_ros.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """How weights are learnt; the fields are options of train.py and learn_hand_crafted.py."""

    input_size: int
    clusters: int
    centres: int
    step: int
    radii: Radii
    mining: Mining
    optimisation: Optimisation
    augmentation: Augmentation
    whiten: Whiten
    radius: float
    trunk_folder: Path | None

    def check(self, row: Row) -> None:
        """Raise InputError for a row that these options do not allow."""
        if row.trunk is None:
            self.hand_crafted(row)
        elif (file := self.model(row).trunk_weights) is not None and not file.is_file():
            raise InputError(
                f"{file}: not there: expected ImageNet weights, or no --trunk-folder to download them"
            )

    def hand_crafted(self, row: Row) -> HandCrafted:
        """Return what is learnt for a row without a trunk."""
        return HandCrafted(
            aggregate=row.aggregate, centres=self.centres, input_size=self.input_size, step=self.step
        )

    def model(self, row: Row) -> Model:
        """Return what a row with a trunk starts from."""
        folder, trunk = self.trunk_folder, row.trunk or ""
        return Model(
            trunk=trunk,
            trunk_weights=None if folder is None else trunk_file(folder, trunk),
            pooling=row.aggregate,
            clusters=self.clusters,
            input_size=self.input_size,
        )


def weights_of(
    row: Row, folder: Path, parts: Callable[[], Parts], recipe: Recipe, seed: int, device: str
) -> Path:
    """Return the file of a row's weights, learnt now unless that is done, or gone on with.

    Args:
        row: of the table.
        folder: of weights of the same parts and seed.
        parts: to learn from.
        recipe: to learn by.
        seed: of everything random.
        device: auto, cuda or cpu.
    """
    if row.trunk is None:
        return _hand_crafted(row, folder, parts, recipe, seed)
    start = recipe.model(row)
    run = RunFolder(folder / row.method)
    untrained = replace(recipe, optimisation=replace(recipe.optimisation, epochs=0))
    _run(run, start, parts, untrained, seed, device)
    if row.trained:  # from the very weights off the shelf
        off_the_shelf, run = run, RunFolder(folder / f"{row.method}-trained")
        _run(run, replace(start, weights=off_the_shelf.best), parts, recipe, seed, device)
    return run.weights if row.whitened else run.best


def _hand_crafted(row: Row, folder: Path, parts: Callable[[], Parts], recipe: Recipe, seed: int) -> Path:
    file = folder / f"{row.name}.safetensors"
    if file.is_file():
        return file
    if row.whitened:
        plain = weights_of(replace(row, whitened=False), folder, parts, recipe, seed, "cpu")
        encoder = whitened(load_hand_crafted(plain), parts().training, recipe.whiten, seed)
    else:
        encoder = learn_aggregate(recipe.hand_crafted(row), parts().training, seed)
    save_hand_crafted(encoder, file, f"{row.name} of a comparison")
    return file


def _run(
    folder: RunFolder, model: Model, parts: Callable[[], Parts], recipe: Recipe, seed: int, device: str
) -> None:
    """Train, or go on with a run that was interrupted, unless it is finished."""
    if folder.finished:
        return
    images = parts()
    fabric = start_fabric(choose_device(device), 1, "auto")
    state = load_checkpoint(folder.checkpoint) if folder.checkpoint.is_file() else None
    with ExitStack() as closing:
        run = TrainingRun(
            fabric=fabric,
            folder=folder,
            images=images.training,
            validation=images.validation,
            model=model,
            radii=recipe.radii,
            mining=recipe.mining,
            optimisation=recipe.optimisation,
            augmentation=recipe.augmentation,
            cache=Cache(),
            validation_radius=recipe.radius,
            seed=seed,
            state=state,
            trained_on=f"{folder.folder.name} of a comparison",
            options={},
            closing=closing,
        )
        run.train(patience=0)
        whiten = recipe.whiten if model.pooling == "netvlad" else replace(recipe.whiten, dimension=0)
        run.finish(whiten)
    folder.checkpoint.unlink()  # several times the weights
