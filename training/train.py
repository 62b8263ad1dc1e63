"""Train NetVLAD on geotagged images: `python training/train.py --data DRIVE --out RUN`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from training.learning.augmentation import Augmentation
from training.learning.checkpoint import load_checkpoint
from training.learning.fabric import check_processes, is_first_process, start_fabric
from training.learning.initialise import Whiten
from training.learning.inputs import Cache
from training.learning.mining import Mining
from training.learning.model import Model
from training.learning.optimisation import Optimisation
from training.learning.run import TrainingRun
from training.learning.run_folder import RunFolder
from training.learning.split import split_by_place
from training.learning.supervision import Radii
from vpr_ros.command import by_option, run
from vpr_ros.engine import choose_device
from vpr_ros.errors import InputError
from vpr_ros.geotagged import GeotaggedImages
from vpr_ros.sources import names_of, read_sources

logger = logging.getLogger(__name__)

#: Options that a run may change when it goes on: where and for how long it runs does not change its course.
FREE = {
    "out",
    "resume",
    "device",
    "devices",
    "precision",
    "cache",
    "patience",
    "whiten",
    "optimisation.epochs",
}

#: Below so many images of several sessions, the paper's options learn little; config/few_drives.yaml more.
FEW_IMAGES = 5000


def train(
    data: Path | list[Path],
    out: Path,
    val: Path | list[Path] | None = None,
    val_share: float = 0.2,
    val_radius: float = 25.0,
    patience: int = 10,
    model: Model = Model(),  # noqa: B008  frozen
    radii: Radii = Radii(),  # noqa: B008
    mining: Mining = Mining(),  # noqa: B008
    optimisation: Optimisation = Optimisation(),  # noqa: B008
    augmentation: Augmentation = Augmentation(),  # noqa: B008
    whiten: Whiten = Whiten(),  # noqa: B008
    cache: Cache = Cache(),  # noqa: B008
    session: str | None = None,
    rows: str | None = None,
    image_topic: str | None = None,
    fix_topic: str | None = None,
    spacing: float = 1.0,
    max_fix_gap: float = 2.0,
    seed: int = 0,
    device: str = "auto",
    devices: int = 1,
    precision: str = "auto",
    resume: bool = False,
) -> None:
    """Learn to recognise places from geotagged images.

    Args:
        data: Folders of images (images.csv or EXIF), bags (rosbag2, MCAP, ROS 1) or public data sets
            (docs/data-sets.md); several as '[a,b]'.
        out: Folder of the run: weights, checkpoint, configuration, logs and curves.
        val: Validation data, likewise; without it a part of the data is held out, by place.
        val_share: Share of the images that is held out where there is no validation data.
        val_radius: Metres within which a retrieved validation image is right.
        patience: Epochs without a better recall@5 on validation after which training ends; 0 for never.
        model: What is trained.
        radii: What geotags say of two images.
        mining: How hard negatives are found.
        optimisation: How weights follow the gradient.
        augmentation: How training images are changed at random.
        whiten: The whitening fitted at the end.
        cache: What is kept instead of being computed again.
        session: Only the images of this session, of data and validation data alike.
        rows: Only these images of the data, start:stop:step; ::2 is every other one.
        image_topic: Of a bag with more than one image topic.
        fix_topic: Of a bag with more than one NavSatFix topic.
        spacing: Metres driven from one image to the next, in a bag; 0 keeps every image.
        max_fix_gap: Seconds without a fix above which a bag's images are left out.
        seed: Of everything random.
        device: auto, cuda or cpu.
        devices: GPUs of this machine, or processes on the CPU, that share the work.
        precision: 32-true, bf16-mixed (trunk in bfloat16), or auto, which is bf16-mixed where the GPU has it.
        resume: Go on with the run in --out from where it stopped.
    """
    options = _plain(locals())
    if seed < 0:
        raise InputError(f"--seed {seed}: expected at least 0")
    chosen = choose_device(device)
    check_processes(chosen, devices, precision)
    folder = RunFolder(out)
    if is_first_process():
        folder.check(resume)
    fabric = start_fabric(chosen, devices, precision)
    if fabric.global_rank > 0:
        logging.disable(logging.WARNING)
    images = read_sources(data, session, rows, image_topic, fix_topic, max_fix_gap, spacing)
    if val is not None:
        validation = read_sources(val, session, None, image_topic, fix_topic, max_fix_gap, spacing)
    else:
        images, validation = _hold_out(images, val_share, max(radii.negative, val_radius))
    sessions = len(set(images.rows["session"].tolist()))
    if len(images) < FEW_IMAGES and sessions > 1 and radii.sessions == "any":
        logger.info(
            "%d images of %d sessions are few: --config config/few_drives.yaml finds more by night on a map "
            "by day (docs/results.md)",
            *(len(images), sessions),
        )
    flat = by_option(options)
    fixed = {name: flat[name] for name in flat if not {name, name.split(".", maxsplit=1)[0]} & FREE}
    state = load_checkpoint(folder.checkpoint) if resume else None
    with ExitStack() as closing:
        training_run = TrainingRun(
            *(fabric, folder, images, validation, model, radii, mining, optimisation, augmentation, cache),
            *(val_radius, seed, state, f"{len(images)} images of {names_of(data)}", fixed, closing),
        )
        if fabric.global_rank == 0:
            folder.write_config(options | {"resume": False})
        try:
            training_run.train(patience)
        except KeyboardInterrupt:
            if fabric.global_rank == 0:
                print(f"{folder.checkpoint}: go on from here with --resume", file=sys.stderr)
            raise
        training_run.finish(whiten)


def _hold_out(images: GeotaggedImages, share: float, gap: float) -> tuple[GeotaggedImages, GeotaggedImages]:
    kept, held = split_by_place(images.rows, share, gap)
    logger.info(
        "%d of %d images held out by place for validation, %d within %g m of them left out",
        *(len(held), len(images), len(images) - len(held) - len(kept), gap),
    )
    return images.select(kept), images.select(held)


def _plain(value: Any) -> Any:
    """Return options as YAML has them: dataclasses as dicts, paths as strings."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


if __name__ == "__main__":
    run(train)
