"""The paper's comparison on your images, in a table and a figure.

python training/paper.py --data DIR --task '*night on *day' --out OUT
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from tqdm import tqdm

from training.comparing.figure import draw_recalls
from training.comparing.jobs import run_jobs
from training.comparing.parts import Division
from training.comparing.rows import Row, choose_rows
from training.comparing.run import Job, Run, learn, read_json, time_query, write_json
from training.comparing.table import summary, table
from training.comparing.weights import Recipe
from training.learning.augmentation import Augmentation
from training.learning.initialise import Whiten
from training.learning.mining import Mining
from training.learning.optimisation import Optimisation
from training.learning.run_folder import check_same
from training.learning.split import check_ends
from training.learning.supervision import Radii
from vpr_ros.command import by_option, run
from vpr_ros.errors import InputError
from vpr_ros.files.atomic_file import replacing_file


def paper(
    data: Path | list[Path],
    task: str,
    out: Path,
    test: Path | list[Path] | None = None,
    val: Path | list[Path] | None = None,
    share: float = 0.3,
    val_share: float = 0.2,
    ends: list[str] | None = None,
    seeds: int = 1,
    trunks: list[str] | None = None,
    rows: list[str] | None = None,
    trunk_folder: Path | None = None,
    radius: float = 25.0,
    input_size: int = 480,
    clusters: int = 64,
    centres: int = 128,
    step: int = 4,
    radii: Radii = Radii(),  # noqa: B008  frozen
    mining: Mining = Mining(),  # noqa: B008
    optimisation: Optimisation = Optimisation(),  # noqa: B008
    augmentation: Augmentation = Augmentation(),  # noqa: B008
    whiten: Whiten = Whiten(),  # noqa: B008
    spacing: float = 1.0,
    jobs: int = 1,
    device: str = "auto",
) -> None:
    """Compare VLAD, Fisher vectors, max pooling and NetVLAD, off the shelf and trained, as the paper does.

    All of them learn from the same images, and are measured on other places, by maps that are searched
    exactly. What is done is kept in --out: interrupted, the same command goes on.

    Args:
        data: Folders of images, bags or public data sets (docs/data-sets.md); several as '[a,b]'.
        task: Who is looked for on what: 'QUERIES on DATABASE', patterns of session names such as
            '*night on *day'.
        out: Folder of table.md, table.json, recall.png, and of all weights.
        test: Data to be measured on; without it a part of the data is held out, by place.
        val: Data to choose the best epoch by, likewise.
        share: Of the images, held out for the test at an end.
        val_share: Of the others, held out to choose the best epoch by.
        ends: Which part of the area is held out, each in turn: last and first, its ends; or 1/4, 2/4 ...,
            strips across it.
        seeds: Runs with each of these parts.
        trunks: alexnet and vgg16, where none are named; also resnet18, resnet50.
        rows: Only rows of these names or patterns, such as '*netvlad*'; one that there is not names them all.
        trunk_folder: Where TRUNK-imagenet-features.safetensors are; downloaded otherwise.
        radius: Metres within which an answer is right.
        input_size: Pixels of the shorter side that images are resized to.
        clusters: K of NetVLAD.
        centres: K of VLAD, and Gaussians of the Fisher vector.
        step: Pixels from one dense feature to the next.
        radii: What geotags say of two images.
        mining: How hard negatives are found.
        optimisation: How weights follow the gradient.
        augmentation: How training images are changed at random.
        whiten: The whitening of VLAD, Fisher vector and NetVLAD.
        spacing: Metres driven from one image of a drive to the next; 0 takes every image.
        jobs: Methods that learn at a time, each in a process of its own.
        device: auto, cuda or cpu.
    """
    chosen = choose_rows(trunks or ["alexnet", "vgg16"], rows or [])
    runs = _runs(out, test is None, ends, seeds)
    if not radius > 0 or jobs < 1:
        raise InputError(
            f"--radius {radius:g}, --jobs {jobs}: expected more than 0 metres, and at least 1 job"
        )
    division = Division(data, test, val, task, share, val_share, max(radii.negative, radius), radius, spacing)
    recipe = Recipe(
        *(input_size, clusters, centres, step, radii, mining, optimisation, augmentation, whiten, radius),
        trunk_folder,
    )
    for row in chosen:  # before the work, not within it
        recipe.check(row)
    for end in dict.fromkeys(each.end for each in runs):
        division.parts(end)
    _check_same(out, division, recipe)
    left = [
        Job(each, tuple(rows_of_one))
        for each in runs
        for _, rows_of_one in groupby(chosen, lambda row: row.method)
    ]
    left = [job for job in left if not all(job.run.figures(row).is_file() for row in job.rows)]
    logged = [(job.run.folder / f"{job.rows[0].method}.log", job) for job in left]
    work = partial(learn, division=division, recipe=recipe, timed=runs[0], device=device)
    try:
        with closing(run_jobs(work, logged, jobs)) as done:
            for _ in tqdm(done, "methods", len(left), unit="method"):
                _write(out, chosen, runs)
        for row in tqdm(chosen, "timing", unit="row"):  # now that nothing else runs
            if not _cost(out, row).is_file():
                write_json(_cost(out, row), time_query(row, runs[0], division, recipe, device))
    except KeyboardInterrupt:
        print(f"{out}: the same command goes on from here", file=sys.stderr)
        raise
    print(_write(out, chosen, runs), end="")


def _runs(out: Path, held_out: bool, ends: list[str] | None, seeds: int) -> list[Run]:
    if ends and not held_out:
        raise InputError("--ends with --test: expected one of them: with --test nothing is held out")
    check_ends(ends or [])
    if seeds < 1:
        raise InputError(f"--seeds {seeds}: expected at least 1")
    names = (ends or ["last"]) if held_out else ["test"]
    return [
        Run(out / f"{end.replace('/', 'of')}-{seed}", end, seed) for end in names for seed in range(seeds)
    ]


def _check_same(out: Path, division: Division, recipe: Recipe) -> None:
    """Raise InputError where other options have made what is there; write them down where nothing is."""
    file = out / "options.json"
    options = json.loads(json.dumps(by_option({**asdict(division), **asdict(recipe)}), default=str))
    if file.is_file():
        check_same(read_json(file), options, out)
    else:
        write_json(file, options)


def _cost(out: Path, row: Row) -> Path:
    return out / "cost" / f"{row.name}.json"


def _write(out: Path, rows: Sequence[Row], runs: Sequence[Run]) -> str:
    """Write table.md, table.json and recall.png of what is done; return the table."""
    figures: dict[Row, dict[str, Any]] = {}
    for row in rows:
        done = [read_json(each.figures(row)) for each in runs if each.figures(row).is_file()]
        cost = read_json(_cost(out, row)) if _cost(out, row).is_file() else {}
        if done:
            figures[row] = summary(row, done, cost)
    written = table(list(figures.values()))
    write_json(out / "table.json", list(figures.values()))
    with replacing_file(out / "table.md") as partial_file:
        partial_file.write_text(written)
    draw_recalls(out / "recall.png", {row: each["recalls"] for row, each in figures.items()})
    return written


if __name__ == "__main__":
    run(paper)
