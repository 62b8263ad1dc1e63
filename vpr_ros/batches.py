"""The images of a table, encoded in batches while the next ones are being read."""

from __future__ import annotations

import logging
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vpr_ros.encoder import check_size
from vpr_ros.engine import Engine
from vpr_ros.errors import InputError
from vpr_ros.geotagged import GeotaggedImages, Image

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Batch:
    """Some rows of a table, encoded.

    Attributes:
        rows: (B,) row numbers.
        images: B (H, W, 3) RGB.
        descriptors: (B, P) of unit length.
    """

    rows: NDArray[np.intp]
    images: list[Image]
    descriptors: NDArray[np.float32]


def encode_table(
    engine: Engine, images: GeotaggedImages, size: int = 16, what: str = "encoding"
) -> Generator[Batch, None, None]:
    """Yield the table in batches of at most `size`, in order, with a progress bar.

    An image that does not decode is left out, with a warning: one bad file does not cost a long run. Close
    the generator, so that its thread ends with it.
    """
    starts = range(0, len(images), size)
    with ThreadPoolExecutor(1) as reader, tqdm(total=len(images), desc=what, unit="image") as progress:
        ahead = reader.submit(_read, images, 0, size)
        for start in starts:
            rows, pixels = ahead.result()
            if start + size < len(images):
                ahead = reader.submit(_read, images, start + size, size)
            if pixels:
                yield Batch(rows, pixels, engine.encode(pixels))
            progress.update(min(size, len(images) - start))


def _read(images: GeotaggedImages, start: int, size: int) -> tuple[NDArray[np.intp], list[Image]]:
    rows, pixels = [], []
    for row in range(start, min(start + size, len(images))):
        try:
            image = images.read(row)
            check_size(*image.shape[:2])
        except (InputError, OSError) as error:
            logger.warning("left out: %s: %s", images.rows["image"][row], error)
            continue
        pixels.append(image)
        rows.append(row)
    return np.asarray(rows, np.intp), pixels
