"""Encoded images on their way into a map: files beside it that outlive an interruption."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cached_property
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from vpr_ros.engines.batches import Encoded, windows_of
from vpr_ros.errors import InputError, first_line
from vpr_ros.files.atomic_file import replacing_file
from vpr_ros.files.atomic_folder import PREPARED, PREPARING, SCRAPPED, beside, scrap
from vpr_ros.files.only_writer import only_writer
from vpr_ros.geotagged import Rows
from vpr_ros.maps.statistics import evenly
from vpr_ros.maps.writer import Block
from vpr_ros.threads.ahead import ahead

logger = logging.getLogger(__name__)

#: Rows of the table in a shard: what a kill costs at most, times the processes.
SHARD = 256
PLAN = "plan.json"
#: What shards are of, by the words for it.
Plan = Mapping[str, str | int]


class Shards:
    """The windows of a table that are encoded, a file each, written whole or not at all; a source of a map.

    Several processes may write different windows. A source it is when none is missing.

    Args:
        folder: beside the map.
        rows: of the whole table.
        dimension: P of the descriptors.
    """

    def __init__(self, folder: Path, rows: Rows, dimension: int) -> None:
        self.folder = folder
        self.dimension = dimension
        self._rows = rows
        self._windows = windows_of(len(rows), SHARD)

    def missing(self, rank: int = 0, processes: int = 1) -> list[range]:
        """Return the windows that are not encoded yet, of those that are one process's of several."""
        return [window for window in self._windows[rank::processes] if not self._file(window).is_file()]

    def done(self) -> int:
        """Return how many rows of the table are encoded, those left out included."""
        return len(self._rows) - sum(map(len, self.missing()))

    def write(self, window: range, encoded: Encoded) -> None:
        """Keep what became of a window."""
        buffer = BytesIO()  # of a full disk a zip file written at once would tell in several errors
        np.savez(
            buffer,
            rows=encoded.rows,
            descriptors=encoded.descriptors,
            lengths=np.array([len(picture) for picture in encoded.pictures], np.int64),
            pictures=np.frombuffer(b"".join(encoded.pictures), np.uint8),
        )
        try:
            with replacing_file(self._file(window)) as partial:
                partial.write_bytes(buffer.getbuffer())
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.folder)) from error

    @cached_property
    def _counts(self) -> list[int]:
        return [len(self._read(window, "rows")) for window in self._windows]

    @property
    def count(self) -> int:
        """The number of places: of images that could be encoded."""
        return sum(self._counts)

    def sample(self, most: int) -> NDArray[np.float32]:
        """Return at most so many descriptors, evenly chosen."""
        chosen = evenly(self.count, most)
        edges = np.searchsorted(chosen, np.cumsum([0, *self._counts]))
        sample = np.empty((len(chosen), self.dimension), np.float32)
        start = 0
        for window, count, first, end in zip(self._windows, self._counts, edges, edges[1:], strict=False):
            if first < end:
                sample[first:end] = self._read(window, "descriptors")[chosen[first:end] - start]
            start += count
        return sample

    def blocks(self) -> Iterator[Block]:
        """Yield the places of each window that has any; the next is read meanwhile."""
        windows = [window for window, count in zip(self._windows, self._counts, strict=True) if count]
        with closing(ahead(self._block, windows, 1, 1)) as blocks:
            for _, block in blocks:
                yield block

    def _block(self, window: range) -> Block:
        ends = np.cumsum(self._read(window, "lengths")).tolist()
        joined = self._read(window, "pictures").tobytes()
        pictures = [joined[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        return Block(self._read(window, "descriptors"), self._rows[self._read(window, "rows")], pictures)

    def _file(self, window: range) -> Path:
        return self.folder / f"{window.start:09d}.npz"

    def _read(self, window: range, name: str) -> NDArray[Any]:
        file = self._file(window)
        try:
            with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
                return np.asarray(arrays[name])
        except (ValueError, KeyError, EOFError, BadZipFile) as error:
            file.unlink()
            raise InputError(
                f"{file}: damaged ({first_line(error)}), and removed: run the same command again"
            ) from error


def building_folder(out: Path) -> Path:
    """Return where the shards of a map lie."""
    return beside(out, PREPARED)


def plan_of(fingerprint: str, rows: Rows, data: Sequence[Path], picture_width: int) -> Plan:
    """Return what shards are of: the encoder, the images, and how wide a picture is kept of each."""
    digest = sha256(repr(rows.dtype.descr).encode())
    digest.update(rows.tobytes())
    digest.update("\n".join(str(path.resolve()) for path in data).encode())
    return {
        "weights": fingerprint,
        "images": digest.hexdigest(),
        "pictures": picture_width,
        "shards": SHARD,
    }


@contextmanager
def shards_beside(out: Path, rows: Rows, dimension: int, plan: Plan) -> Iterator[Shards]:
    """Yield the shards of a map; on leaving without an error they are removed, else those written stay.

    Those of another plan are removed at the beginning. Both is said.

    Args:
        out: the map.
        rows: of the table.
        dimension: P of the descriptors.
        plan: what the shards are of.

    Raises:
        InputError: another process is building the map.
    """
    folder = building_folder(out)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with only_writer(beside(out, PREPARING), out):
        shards = Shards(folder, rows, dimension)
        try:
            _begin(out, plan)
            if done := shards.done():
                logger.info("%s: going on: %d of %d images were encoded before", folder, done, len(rows))
            yield shards
        except BaseException:
            if done := shards.done():
                logger.info(
                    "%s: %d of %d images are encoded: the same command goes on from there",
                    *(folder, done, len(rows)),
                )
            else:
                with suppress(OSError):
                    scrap(out)
            raise
        scrap(out)


def _begin(out: Path, plan: Plan) -> None:
    """Remove the shards of another plan; where there are none, there is a folder with this plan."""
    folder = building_folder(out)
    try:
        before = dict(json.loads((folder / PLAN).read_text()))
    except (OSError, ValueError, TypeError):
        before = {}
    if before == plan:
        return
    if before:
        others = ", ".join(name for name in plan if before.get(name) != plan[name])
        logger.warning("%s: left by a build with other %s: starting afresh", folder, others)
    scrap(out)
    begun = beside(out, SCRAPPED)  # until there is something to go on with
    with replacing_file(begun / PLAN) as partial:
        partial.write_text(json.dumps(plan))
    begun.rename(folder)
