"""Where a drive really went, as a csv file says: of a better receiver, of a survey, of a simulator."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from vpr_ros.drives.track import Track
from vpr_ros.errors import InputError
from vpr_ros.files.csv_table import read_csv
from vpr_ros.geotagged import make_rows

NEEDED = ("stamp", "latitude", "longitude")
OPTIONAL = ("altitude", "heading")
_EXPECTED = f"the columns {', '.join(NEEDED)} and, where known, {', '.join(OPTIONAL)}"


def read_truth(file: Path) -> Track:
    """Read a csv table with the columns stamp (ns), latitude, longitude and maybe altitude, heading.

    Lines may be in any order; other columns are left alone. Raises InputError that names the file, and the
    line where one line is to blame.
    """
    _, found = read_csv(file, NEEDED, _EXPECTED)
    lines = [(file, *each) for each in found]
    if not lines:
        raise InputError(f"{file}: no line: expected one for each position known")
    stamps = np.array([_stamp(*line) for line in lines], np.int64)
    order = np.argsort(stamps, kind="stable")
    stamps = stamps[order]
    if len(twice := np.flatnonzero(np.diff(stamps) == 0)):
        raise InputError(f"{file}: stamp {stamps[twice[0]]} is there twice: expected one position at a time")
    columns = {name: [_number(*line, name) for line in lines] for name in (*NEEDED[1:], *OPTIONAL)}
    # the ranges are those of every geotag
    rows = make_rows(str(file), image=[f"line {number}" for _, number, _ in lines], **columns)[order]
    positions = np.stack([rows[name] for name in ("latitude", "longitude", "altitude")], axis=1)
    headings = None if np.isnan(rows["heading"]).all() else rows["heading"]
    return Track(stamps, positions, headings, f"lines of {file}")


def _stamp(file: Path, number: int, line: dict[str, str]) -> int:
    text = line["stamp"]
    try:
        stamp = int(np.int64(int(text)))  # never through a float, which loses nanoseconds
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{file}:{number}: stamp is {text[:40]!r}: expected nanoseconds, such as 1750000000500000000"
        ) from error
    return stamp


def _number(file: Path, number: int, line: dict[str, str], name: str) -> float:
    text = line.get(name, "")
    if not text and name in OPTIONAL:
        return math.nan
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"{file}:{number}: {name} is {text[:40]!r}: expected a number") from error
