"""Maps without an encoder: places at given metres with descriptors by chance, and pictures that are bytes."""

import numpy as np

from test.conftest import DATUM
from vpr_ros.geodesy import to_geodetic
from vpr_ros.geotagged import make_rows
from vpr_ros.maps.writer import InMemory, write_map

FINGERPRINT = "f" * 64


def unit(generator, count, dimension=8):
    """Return (count, dimension) descriptors."""
    vectors = generator.standard_normal((count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def in_a_row(count, step=10.0, east=0.0, north=0.0):
    """Return (count, 3) metres of places eastwards."""
    return np.column_stack([east + np.arange(count) * step, np.full(count, north), np.zeros(count)])


def rows_at(enu, session="a", heading=90.0, start=1, datum=DATUM):
    """Return rows of a drive through places at metres, a second from each to the next."""
    geodetic = to_geodetic(np.asarray(enu, np.float64), datum)
    count = len(geodetic)
    stamps = (start + np.arange(count)) * 10**9
    return make_rows(
        "test",
        image=[f"{session}/{number}.png" for number in range(count)],
        latitude=geodetic[:, 0],
        longitude=geodetic[:, 1],
        altitude=geodetic[:, 2],
        heading=np.broadcast_to(heading, count),
        stamp=stamps,
        session=[session] * count,
    )


def some_map(folder, rows, seed=0, pictures=False, dimension=8, fingerprint=FINGERPRINT, **options):
    """Write a map of these rows; return the descriptors."""
    descriptors = unit(np.random.default_rng(seed), len(rows), dimension)
    source = InMemory(dimension)
    source.add(
        descriptors, rows, [f"picture {seed} {n}".encode() for n in range(len(rows))] if pictures else ()
    )
    geotag_std = options.pop("geotag_std", 2.0)
    write_map(folder, source, fingerprint, geotag_std, progress=False, **options)
    return descriptors
