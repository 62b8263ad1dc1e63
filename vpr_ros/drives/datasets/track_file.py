"""A recorded track: GPX, NMEA or csv."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vpr_ros.drives.datasets.fix import Fix
from vpr_ros.drives.datasets.gpx import read_gpx
from vpr_ros.drives.datasets.nmea import read_nmea
from vpr_ros.drives.track import Track
from vpr_ros.drives.truth import read_truth
from vpr_ros.errors import InputError
from vpr_ros.geotagged import make_rows

_READERS = {".gpx": read_gpx, ".nmea": read_nmea, ".nma": read_nmea}
#: By which a track is told from other files; a csv file must be named.
SUFFIXES = tuple(_READERS)


def read_track(file: Path) -> Track:
    """Read a track; raises InputError for a file that is none.

    A csv file has the columns of `vpr_ros.drives.truth.read_truth`. Of two positions at a time the first
    counts.
    """
    suffix = file.suffix.lower()
    if suffix == ".csv":
        return read_truth(file)
    if suffix not in _READERS:
        raise InputError(f"{file}: no track: expected {', '.join(SUFFIXES)} or .csv")
    if not file.is_file():
        raise InputError(f"{file}: no such file: expected a track")
    return _track(_READERS[suffix](file), file)


def _track(fixes: Sequence[Fix], file: Path) -> Track:
    columns = np.array([fix[1:] for fix in fixes], np.float64)
    latitude, longitude, altitude = columns.T
    # the ranges are those of every geotag
    make_rows(
        str(file),
        image=[f"point {number}" for number in range(1, len(fixes) + 1)],
        latitude=latitude,
        longitude=longitude,
        altitude=altitude,
    )
    stamps, first = np.unique(np.array([fix.stamp for fix in fixes], np.int64), return_index=True)
    return Track(stamps, columns[first], None, f"points of {file.name}")
