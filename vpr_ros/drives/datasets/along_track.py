"""Image files that were taken along a track, as a table."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from vpr_ros.drives.track import Track, geotag, keyframes
from vpr_ros.geotagged import GeotaggedImages, make_rows
from vpr_ros.images.image_files import image_table

logger = logging.getLogger(__name__)


def along_track(
    folder: Path,
    images: Sequence[str],
    stamps: ArrayLike,
    sessions: Sequence[str],
    track: Track,
    max_gap: float,
    spacing: float,
) -> GeotaggedImages:
    """Return the images that the track geotags, in the order of their stamps.

    Args:
        folder: that the images lie below.
        images: (N,) paths below it.
        stamps: (N,) nanoseconds, by the clock of the track.
        sessions: (N,).
        track: where the drive went.
        max_gap: seconds between two points of the track above which images between them are left out.
        spacing: metres driven from one image to the next; 0 keeps all.

    Raises:
        InputError: none of the images was taken along the track.
    """
    stamps = np.asarray(stamps, np.int64)
    order = np.argsort(stamps, kind="stable")
    geotags = geotag(stamps[order], track, max_gap, folder)
    kept = keyframes(geotags.enu, spacing)
    chosen = order[geotags.known[kept]]
    logger.info(
        "%s: %d of %d images kept, one each %g m (%d outside the %s, %d in gaps over %g s, "
        "%d between keyframes)",
        *(folder, len(kept), len(stamps), spacing, geotags.outside, track.points, geotags.in_gaps, max_gap),
        len(geotags.known) - len(kept),
    )
    rows = make_rows(
        str(folder),
        image=np.asarray(images)[chosen],
        latitude=geotags.positions[kept, 0],
        longitude=geotags.positions[kept, 1],
        altitude=geotags.positions[kept, 2],
        heading=geotags.headings[kept],
        stamp=stamps[chosen],
        session=np.asarray(sessions)[chosen],
    )
    return image_table(folder, rows)
