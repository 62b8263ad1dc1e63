"""Maps that are places alone: nothing is written, and nothing is encoded."""

from pathlib import Path

import faiss
import numpy as np

from test.conftest import DATUM
from vpr_ros.geodesy import to_geodetic
from vpr_ros.geotagged import make_rows
from vpr_ros.maps.manifest import INDEX, FileSum, Manifest, Spread
from vpr_ros.place_map import PlaceMap

UNRELATED = Spread(0.1, 0.05)


def a_map(
    enu,
    headings=None,
    geotag_std=2.0,
    spacing=1.0,
    unrelated=UNRELATED,
    datum=DATUM,
    folder=Path("map"),
    index=None,
):
    """A map of places at metres east, north, up; where no index is given it has none to search."""
    enu = np.asarray(enu, np.float64).reshape(-1, 3)
    geodetic = to_geodetic(enu, datum)
    headings = np.full(len(enu), np.nan) if headings is None else np.asarray(headings, np.float64)
    rows = make_rows(
        "test", latitude=geodetic[:, 0], longitude=geodetic[:, 1], altitude=geodetic[:, 2], heading=headings
    )
    index = index or faiss.IndexFlatIP(2)
    files = {INDEX: FileSum(0, "a sum")}
    manifest = Manifest(
        "a fingerprint", index.d, len(enu), datum, geotag_std, unrelated, spacing, files=files
    )
    place_map = PlaceMap(folder, manifest, index, rows)
    vars(place_map)["enu"] = enu  # exactly, not by way of degrees
    return place_map


def in_a_row(count, step=10.0, north=0.0):
    """Return (count, 3) metres of places eastwards."""
    return np.column_stack([np.arange(count) * step, np.full(count, north), np.zeros(count)])
