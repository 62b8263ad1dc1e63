"""Write the views of panoramas, once: `python training/panorama.py PANORAMAS --out FOLDER`."""

from __future__ import annotations

import csv
import json
import logging
import os
from collections.abc import Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path

from tqdm import tqdm

from vpr_ros.command import run
from vpr_ros.drives.datasets.panorama import parse_headings, parse_pitches, parse_size, view_name, views_of
from vpr_ros.drives.folder import TABLE
from vpr_ros.engines.batches import reading_threads
from vpr_ros.errors import InputError
from vpr_ros.files.atomic_file import replacing_file
from vpr_ros.files.atomic_folder import WRITING, beside
from vpr_ros.files.only_writer import only_writer
from vpr_ros.geotagged import COLUMNS, Rows
from vpr_ros.images.pixels import compress
from vpr_ros.sources import read_source
from vpr_ros.threads.ahead import ahead

logger = logging.getLogger(__name__)

#: What the views in a folder are of: another command does not go on with them.
PLAN = "views.json"
#: How a JPEG ends that was written whole.
_END = b"\xff\xd9"


def panorama(
    data: Path,
    out: Path,
    headings: str = "12",
    pitches: str = "4/26.5",
    fov: float = 60.0,
    size: str = "640x480",
    image_topic: str | None = None,
    fix_topic: str | None = None,
    spacing: float = 0.0,
    max_fix_gap: float = 2.0,
) -> None:
    """Write the perspective views of panoramas as a folder of images with images.csv.

    Interrupted or killed, the same command goes on from where it was.

    Args:
        data: Equirectangular panoramas with geotags: a folder, bag or public data set (docs/data-sets.md).
        out: A new folder for them, or one that the same command has begun.
        headings: How many, in equal steps from the panorama's, or degrees to the right of it, 0/90/270.
        pitches: Degrees above the horizon, 4/26.5.
        fov: Degrees that the width of a view sees.
        size: Pixels of a view, WIDTHxHEIGHT.
        image_topic: Of a bag with more than one image topic.
        fix_topic: Of a bag with more than one NavSatFix topic.
        spacing: Metres driven from one panorama to the next, of a drive; 0 keeps all.
        max_fix_gap: Seconds without a fix above which a drive's panoramas are left out.
    """
    turns, rises = parse_headings(headings), parse_pitches(pitches)
    panoramas = read_source(data, image_topic, fix_topic, max_fix_gap, spacing)
    table = views_of(panoramas, data, turns, rises, fov, parse_size(size))
    views = [view_name(turn, rise) for rise in rises for turn in turns]  # in the order of the table
    files = [
        f"{number // 1000:03d}/{number:06d}_{view}.jpg" for number in range(len(panoramas)) for view in views
    ]
    plan = {
        "headings": headings,
        "pitches": pitches,
        "fov": fov,
        "size": size,
        "panoramas": sha256(panoramas.rows.tobytes()).hexdigest(),
    }

    def write(row: int) -> bool:
        file = out / files[row]
        if _is_whole(file):
            return True
        try:
            image = table.read(row)
        except (InputError, OSError) as error:
            if row % len(views) == 0:  # once for all views
                logger.warning("left out: %s", error)
            return False
        file.parent.mkdir(exist_ok=True)
        try:
            file.write_bytes(compress(image))
        except OSError as error:  # of a full disk names no file
            raise OSError(error.errno, error.strerror, str(file)) from error
        return True

    out.parent.mkdir(parents=True, exist_ok=True)
    with only_writer(beside(out, WRITING), out):
        _begin(out, json.dumps(plan))
        threads = reading_threads()
        with closing(ahead(write, range(len(table)), threads, 2 * threads)) as results:
            progress = tqdm(results, "writing views", len(table), unit="view")
            try:
                written = [row for row, there in progress if there]
            except KeyboardInterrupt:
                logger.info("%s: is not whole: the same command goes on from there", out)
                raise
        if not written:
            raise InputError(f"{data}: none of its {len(panoramas)} panoramas can be read")
        os.sync()  # a table says that its images are there
        of = [panoramas.rows["image"][row // len(views)] for row in written]
        _write_table(out / TABLE, table.rows[written], [files[row] for row in written], of)
    print(f"{out}: {len(written)} views of {len(set(of))} panoramas")


def _begin(out: Path, plan: str) -> None:
    """Make the folder, or find that it is to be gone on with; raises InputError where it is another one."""
    if (out / PLAN).is_file() and not (out / TABLE).exists():
        if (out / PLAN).read_text() != plan:
            raise InputError(f"{out}: begun with other views, see {PLAN}: remove it or name another folder")
    elif out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty: expected a folder that is not there yet")
    else:
        with replacing_file(out / PLAN) as partial:
            partial.write_text(plan)


def _is_whole(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            opened.seek(-len(_END), os.SEEK_END)
            return opened.read() == _END
    except OSError:  # none there, or empty
        return False


def _write_table(file: Path, rows: Rows, images: Sequence[str], panoramas: Sequence[str]) -> None:
    """Write images.csv, with a column more that says what each view is of."""
    with replacing_file(file) as partial, partial.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow([*COLUMNS, "panorama"])
        for row, image, of in zip(rows, images, panoramas, strict=True):
            cells = {name: row[name].item() for name in COLUMNS} | {"image": image}
            known = ["" if str(cell) == "nan" else cell for cell in cells.values()]
            writer.writerow([*known, of])


if __name__ == "__main__":
    run(panorama, ("data",))
