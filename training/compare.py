"""Train several variants on a part of some images and measure them on the rest, held out by place.

python training/compare.py --data DIR --variants config/paper_table.yaml --out OUT
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jsonargparse import ArgumentError, ArgumentParser
from tqdm import tqdm

from training.comparing.jobs import run_jobs
from training.comparing.task import match_task
from training.learning.augmentation import Augmentation
from training.learning.fabric import start_fabric
from training.learning.initialise import Whiten
from training.learning.inputs import Cache
from training.learning.mining import Mining
from training.learning.model import Model, trunk_file
from training.learning.optimisation import Optimisation
from training.learning.run import TrainingRun
from training.learning.run_folder import RunFolder
from training.learning.split import check_ends, hold_out
from training.learning.supervision import Radii
from training.learning.validation import Validation
from vpr_ros.command import run
from vpr_ros.engine import choose_device
from vpr_ros.errors import InputError, first_line
from vpr_ros.geotagged import Rows
from vpr_ros.pages.markdown import markdown_table
from vpr_ros.sources import read_sources

RADII = (25.0, 10.0)
NS = (1, 5, 10)
#: What a variant may change, by name, and the options it starts from.
OPTIONS = {
    "model": Model,
    "radii": Radii,
    "mining": Mining,
    "optimisation": Optimisation,
    "augmentation": Augmentation,
    "whiten": Whiten,
}


@dataclass(frozen=True)
class Job:
    """One run."""

    variant: str
    end: str
    seed: int
    folder: Path
    options: Mapping[str, Any]


def compare(
    data: Path | list[Path],
    variants: Path,
    out: Path,
    tasks: list[str] | None = None,
    share: float = 0.3,
    ends: list[str] | None = None,
    seeds: int = 3,
    jobs: int = 1,
    trunk_folder: Path | None = None,
    patience: int = 0,
    device: str = "auto",
) -> None:
    """Train variants on one part of a place and measure them on another.

    The best epoch is chosen as train.py does, by recall@5 on the held-out part, all sessions against each
    other; the figures after the last epoch stand beside it.

    Args:
        data: Folders of images or bags; several as '[a,b]'.
        variants: YAML file: for each variant's name the options of train.py that it changes; a 'base' of
            options changes all of them.
        out: Folder of the runs and of the table; runs that are finished there are not repeated.
        tasks: What is measured, as 'QUERIES on DATABASE', patterns of session names such as '*night on *day'.
        share: Of the images, held out at an end.
        ends: Which part of the area is held out, each in turn: last and first, its ends; or 1/4, 2/4 ...,
            strips across it.
        seeds: Runs of each variant.
        jobs: Runs at a time.
        trunk_folder: Where TRUNK-imagenet-features.safetensors are; downloaded otherwise.
        patience: Epochs without a better one after which a run ends; 0 for never.
        device: auto, cuda or cpu.
    """
    check_ends(ends or [])
    chosen = _read_variants(variants)
    todo = [
        Job(name, end, seed, out / f"{name}-{end}-{seed}".replace(" ", "_").replace("/", "_"), options)
        for name, options in chosen.items()
        for end in ends or ["last"]
        for seed in range(seeds)
    ]
    left = [job for job in todo if not RunFolder(job.folder).finished]
    train = partial(
        _run,
        data=data,
        tasks=tasks or [],
        share=share,
        trunk_folder=trunk_folder,
        patience=patience,
        device=device,
    )
    with (
        closing(run_jobs(train, [(job.folder / "log.txt", job) for job in left], jobs)) as done,
        tqdm(done, desc="runs", total=len(left), unit="run") as progress,
    ):
        for _ in progress:
            (out / "table.md").write_text(table(todo))
    print(table(todo))


def _read_variants(file: Path) -> dict[str, dict[str, Any]]:
    """Return each variant's options, as the dataclasses of OPTIONS."""
    parser = ArgumentParser(exit_on_error=False)
    for group, kind in OPTIONS.items():
        parser.add_argument(f"--{group}", type=kind, default=kind())
    try:
        read = yaml.safe_load(file.read_text())
        base = read.pop("base", {})
        chosen = {}
        for name, changes in read.items():
            groups = base.keys() | (changes or {}).keys()
            merged = {group: base.get(group, {}) | (changes or {}).get(group, {}) for group in groups}
            chosen[name] = parser.instantiate(parser.parse_object(merged)).as_dict()
    except (OSError, yaml.YAMLError, AttributeError, TypeError, ArgumentError) as error:
        raise InputError(
            f"{file}: not a table of variants ({first_line(error)}): expected for each name a dict of "
            f"{', '.join(OPTIONS)}"
        ) from error
    return chosen


def _run(
    job: Job,
    data: Path | list[Path],
    tasks: list[str],
    share: float,
    trunk_folder: Path | None,
    patience: int,
    device: str,
) -> None:
    options = dict(job.options)
    whiten = options.pop("whiten")
    model: Model = options["model"]
    if trunk_folder is not None:
        options["model"] = replace(model, trunk_weights=trunk_file(trunk_folder, model.trunk))
    with ExitStack() as stack:
        chosen = choose_device(device)
        fabric = start_fabric(chosen, 1, "auto")
        images = read_sources(data)
        kept, held = hold_out(images.rows, job.end, share, max(RADII))
        training_run = TrainingRun(
            fabric=fabric,
            folder=RunFolder(job.folder),
            images=images.select(kept),
            validation=images.select(held),
            cache=Cache(),
            validation_radius=max(RADII),
            seed=job.seed,
            state=None,
            trained_on=f"variant {job.variant}",
            options={},
            closing=stack,
            watch=lambda rows: {
                f"{task}, {radius:g} m": _task(rows, task, radius) for task in tasks for radius in RADII
            },
            **options,
        )
        training_run.train(patience)
        training_run.finish(whiten)


def _task(rows: Rows, task: str, radius: float) -> Validation:
    return Validation(rows, radius, *match_task(rows, task))


def table(jobs: list[Job]) -> str:
    """Return the figures of the finished runs in Markdown: means (± deviation of recall@1) over runs."""
    heads: list[str] = []
    rows: list[list[str]] = []
    for variant in dict.fromkeys(job.variant for job in jobs):
        runs = [
            json.loads(RunFolder(job.folder).history.read_text())
            for job in jobs
            if job.variant == variant and RunFolder(job.folder).finished
        ]
        if not runs:
            continue
        names = [key.removesuffix("recall@1") for key in runs[0]["epochs"][0] if key.endswith("recall@1")]
        if not heads:
            measured = [f"{name.removesuffix(': ') or 'all sessions'} R@1/5/10" for name in names]
            heads = ["variant", "weights", *measured]
        for weights, entries in (
            ("before training", [each["epochs"][0] for each in runs]),
            ("best epoch", [each["epochs"][each["best"]] for each in runs]),
            ("last epoch", [each["epochs"][-1] for each in runs]),
            ("best, whitened", [each["whitened"] for each in runs]),
        ):
            rows.append([variant, f"{weights} ({len(runs)})", *(_cell(entries, name) for name in names)])
    return (markdown_table(heads, rows) if rows else "") + "\n"


def _cell(entries: list[dict[str, float]], name: str) -> str:
    values = 100 * np.array([[entry[f"{name}recall@{n}"] for n in NS] for entry in entries])
    means = " / ".join(f"{mean:.1f}" for mean in values.mean(axis=0))
    return f"{means} (±{values[:, 0].std():.1f})"


if __name__ == "__main__":
    run(compare)
