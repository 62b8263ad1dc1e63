"""The images of a table, encoded in batches of one size while threads read the next ones."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vpr_ros.ahead import ahead
from vpr_ros.encoder import check_size
from vpr_ros.engine import Engine
from vpr_ros.errors import InputError
from vpr_ros.geotagged import GeotaggedImages, Image

logger = logging.getLogger(__name__)

#: Images that are encoded together: as many as keep a GPU busy, or a processor's cache warm.
BATCH = {"cuda": 32, "cpu": 8}
#: Images of several sizes that wait, in batches, until one batch is full.
WAITING = 4
#: Threads that encode: while a GPU computes a batch of one it copies the other's.
ENCODERS = {"cuda": 2, "cpu": 1}
#: Rows of a table that are yielded together where nothing else is said.
WINDOW = 256


@dataclass(frozen=True, eq=False)
class Encoded:
    """Some rows of a table, encoded; those that do not decode are left out.

    Attributes:
        rows: (B,) row numbers, rising.
        descriptors: (B, P) of unit length.
        pictures: of each image what `picture` made of it, or nothing at all.
    """

    rows: NDArray[np.intp]
    descriptors: NDArray[np.float32]
    pictures: list[bytes]


class _Read(NamedTuple):
    row: int
    image: Image
    picture: bytes


class _Batch(NamedTuple):
    """Images of one size; after the last batch of a window comes one without any."""

    read: list[_Read]
    passed: int  # rows that were gone through for it


def windows_of(count: int, size: int = WINDOW) -> list[range]:
    """Return the row numbers below `count`, so many at a time."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def reading_threads(processes: int = 1) -> int:
    """Return how many threads each of so many processes has for decoding."""
    return max(2, len(os.sched_getaffinity(0)) // processes)


def encode_table(
    engine: Engine,
    images: GeotaggedImages,
    windows: Sequence[range] | None = None,
    picture: Callable[[Image], bytes] | None = None,
    what: str = "encoding",
    threads: int | None = None,
    check: Callable[[], None] = lambda: None,
    quiet: bool = False,
) -> Generator[Encoded, None, None]:
    """Yield windows of a table, in order, with a progress bar.

    Which images are encoded together depends on their window alone. An image that does not decode is left
    out, with a warning: one bad file does not cost a long run. Close the generator, so that its threads end
    with it.

    Args:
        engine: encodes them.
        images: the table.
        windows: row numbers that are yielded together; of the whole table, where none are given.
        picture: makes something to keep of each image, in the threads that read.
        what: is being done, for the progress bar.
        threads: that read and decode.
        check: called before every batch; may raise.
        quiet: show no progress bar.
    """
    chosen = windows_of(len(images)) if windows is None else windows
    size, encoders = BATCH[engine.device.type], ENCODERS[engine.device.type]
    threads = threads or reading_threads()

    def read(row: int) -> _Read | Exception:
        try:
            image = images.read(row)
            check_size(*image.shape[:2])
            return _Read(row, engine.fit(image), picture(image) if picture is not None else b"")
        except (InputError, OSError) as error:
            return error

    def encode(batch: _Batch) -> NDArray[np.float32]:
        return engine.encode([each.image for each in batch.read])

    rows = (row for window in chosen for row in window)
    total = sum(map(len, chosen))
    with (
        closing(ahead(read, rows, threads, size + 2 * threads)) as decoded,
        closing(_batches(decoded, chosen, size, images)) as batches,
        closing(ahead(encode, batches, encoders, encoders)) as encoded,
        tqdm(total=total, desc=what, unit="image", disable=quiet) as progress,
    ):
        parts: list[tuple[list[_Read], NDArray[np.float32]]] = []
        for batch, descriptors in encoded:
            check()
            parts.append((batch.read, descriptors))
            progress.update(batch.passed)
            if not batch.read:
                yield _in_order(parts, with_pictures=picture is not None)
                parts = []


def _batches(
    decoded: Iterator[tuple[int, _Read | Exception]],
    windows: Sequence[range],
    size: int,
    images: GeotaggedImages,
) -> Generator[_Batch, None, None]:
    for window in windows:
        by_size: dict[tuple[int, ...], list[_Read]] = {}
        passed = 0
        for row, read in islice(decoded, len(window)):
            passed += 1
            if isinstance(read, Exception):
                logger.warning("left out: %s: %s", images.rows["image"][row], read)
                continue
            by_size.setdefault(read.image.shape, []).append(read)
            fullest = max(by_size, key=lambda shape: len(by_size[shape]))
            if len(by_size[fullest]) == size or sum(map(len, by_size.values())) == WAITING * size:
                yield _Batch(by_size.pop(fullest), passed)
                passed = 0
        for group in by_size.values():
            yield _Batch(group, passed)
            passed = 0
        yield _Batch([], passed)


def _in_order(parts: list[tuple[list[_Read], NDArray[np.float32]]], with_pictures: bool) -> Encoded:
    read = [each for part, _ in parts for each in part]
    rows = np.asarray([each.row for each in read], np.intp)
    order = np.argsort(rows)
    pictures = [read[number].picture for number in order] if with_pictures else []
    return Encoded(rows[order], np.concatenate([part for _, part in parts])[order], pictures)
