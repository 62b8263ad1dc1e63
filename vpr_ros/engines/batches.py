"""The images of a table, encoded in batches of one size while threads read the next ones.

On a GPU the threads leave JPEGs as they are, and a batch of them is decoded where it is encoded.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vpr_ros.encoder import check_size
from vpr_ros.engines.jpeg_batches import JpegBatches, JpegFile, jpeg_file
from vpr_ros.errors import InputError, first_line
from vpr_ros.geotagged import GeotaggedImages, Image
from vpr_ros.images.pixels import MAX_PIXELS, compress
from vpr_ros.images.small_picture import small_jpeg
from vpr_ros.open_engine import AnyEngine
from vpr_ros.threads.ahead import ahead

logger = logging.getLogger(__name__)

#: Images that are encoded together: as many as keep a GPU busy, or a processor's cache warm.
BATCH = {"cuda": 64, "cpu": 8}
#: Images of several sizes that wait, in batches, until one batch is full.
WAITING = 4
#: Threads that encode: while a GPU computes a batch of one it decodes another's.
ENCODERS = {"cuda": 3, "cpu": 1}
#: Rows that one thread looks at together. What a GPU decodes takes so little time to read that more threads,
#: or handing rows over one by one, would take longer.
TOGETHER = 16
#: Rows of a table that are yielded together where nothing else is said.
WINDOW = 256


@dataclass(frozen=True, eq=False)
class Encoded:
    """Some rows of a table, encoded; those that do not decode are left out.

    Attributes:
        rows: (B,) row numbers, rising.
        descriptors: (B, P) of unit length.
        pictures: a small JPEG of each image, or nothing at all.
    """

    rows: NDArray[np.intp]
    descriptors: NDArray[np.float32]
    pictures: list[bytes]


class _Prepared(NamedTuple):
    """An image at the encoder's input size."""

    row: int
    image: Image
    picture: bytes


class _Jpeg(NamedTuple):
    row: int
    file: JpegFile


_Read = _Prepared | _Jpeg
#: What becomes of a row: it is read, or being decoded on a thread.
_Looked = _Read | Exception | Future[_Prepared | Exception]
#: What images must share to be encoded together.
_Kind = tuple[object, ...]


class _Batch(NamedTuple):
    """Images of one kind and size; after the last batch of a window comes one without any."""

    read: list[_Read]
    passed: int  # rows that were gone through for it


class _Part(NamedTuple):
    """What became of a batch."""

    rows: list[int]
    descriptors: NDArray[np.float32]
    pictures: list[bytes]


def windows_of(count: int, size: int = WINDOW) -> list[range]:
    """Return the row numbers below `count`, so many at a time."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def reading_threads(processes: int = 1) -> int:
    """Return how many threads each of so many processes has for decoding."""
    return max(2, len(os.sched_getaffinity(0)) // processes)


def encode_table(
    engine: AnyEngine,
    images: GeotaggedImages,
    windows: Sequence[range] | None = None,
    picture_width: int = 0,
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
        picture_width: of a small JPEG to keep of each image; 0 for none.
        what: is being done, for the progress bar.
        threads: that decode what a GPU does not.
        check: called before every batch; may raise.
        quiet: show no progress bar.
    """
    chosen = windows_of(len(images)) if windows is None else windows
    size, encoders = BATCH[engine.device.type], ENCODERS[engine.device.type]
    threads = threads or reading_threads()
    with ExitStack() as stack:
        pool = ThreadPoolExecutor(threads)
        stack.callback(pool.shutdown, cancel_futures=True)
        work = _Work(engine, images, picture_width, pool)
        reads = stack.enter_context(closing(_read_ahead(work.look, chosen, size + 2 * threads)))
        batches = stack.enter_context(closing(_batches(reads, chosen, size, images)))
        encoded = stack.enter_context(closing(ahead(work.encode, batches, encoders, encoders)))
        total = sum(map(len, chosen))
        progress = stack.enter_context(tqdm(total=total, desc=what, unit="image", disable=quiet))
        parts: list[_Part] = []
        for batch, part in encoded:
            check()
            parts.append(part)
            progress.update(batch.passed)
            if not batch.read:
                yield _in_order(parts)
                parts = []


class _Work:
    """What threads do with the rows of a table, and with batches of them."""

    def __init__(
        self, engine: AnyEngine, images: GeotaggedImages, picture_width: int, pool: ThreadPoolExecutor
    ) -> None:
        self._engine = engine
        self._images = images
        self._picture_width = picture_width
        self._pool = pool
        self._on_gpu = JpegBatches(engine.jpeg, picture_width) if engine.jpeg is not None else None

    def look(self, row: int) -> _Looked:
        """Read what a GPU decodes; let the pool decode everything else."""
        if self._on_gpu is None:
            return self._pool.submit(self._prepare, row, partial(self._images.read, row))
        try:
            image = self._images.undecoded(row)
            file = jpeg_file(image)
            if file is not None:
                check_size(file.height, file.width)
                return _Jpeg(row, file)
        except (InputError, OSError) as error:
            return error
        return self._pool.submit(self._prepare, row, image.rgb)

    def _prepare(self, row: int, rgb: Callable[[], Image]) -> _Prepared | Exception:
        try:
            image = rgb()
            check_size(*image.shape[:2])
            picture = small_jpeg(image, self._picture_width) if self._picture_width else b""
            return _Prepared(row, self._engine.fit(image), picture)
        except (InputError, OSError) as error:
            return error

    def encode(self, batch: _Batch) -> _Part:
        prepared = [each for each in batch.read if isinstance(each, _Prepared)]
        jpegs = [each for each in batch.read if isinstance(each, _Jpeg)]
        if self._on_gpu is not None and jpegs:
            try:
                planes, small = self._on_gpu.decode([each.file for each in jpegs])
            except RuntimeError as error:
                logger.debug("nvJPEG: %s", first_line(error))
                prepared = [*self._decoded_here(jpegs)]
            else:
                pictures: list[bytes] = []
                descriptors = self._engine.encode_planes(
                    planes, lambda: pictures.extend(map(compress, small))
                )
                return _Part([each.row for each in jpegs], descriptors, pictures)
        pictures = [each.picture for each in prepared] if self._picture_width else []
        descriptors = self._engine.encode([each.image for each in prepared])
        return _Part([each.row for each in prepared], descriptors, pictures)

    def _decoded_here(self, jpegs: list[_Jpeg]) -> Iterator[_Prepared]:
        for each in jpegs:
            image = self._prepare(each.row, each.file.rgb)
            if isinstance(image, Exception):
                _left_out(self._images, each.row, image)
            else:
                yield image


def _read_ahead(
    look: Callable[[int], _Looked], windows: Sequence[range], depth: int
) -> Generator[tuple[int, _Read | Exception], None, None]:
    """Yield the rows of windows and what was read of them, while `depth` of the next are being read."""
    rows = (row for window in windows for row in window)
    portions = iter(lambda: list(islice(rows, TOGETHER)), [])
    with closing(ahead(lambda portion: [*map(look, portion)], portions, 1, -(-depth // TOGETHER))) as looked:
        for portion, several in looked:
            for row, each in zip(portion, several, strict=True):
                yield row, each.result() if isinstance(each, Future) else each


def _batches(
    reads: Iterator[tuple[int, _Read | Exception]],
    windows: Sequence[range],
    size: int,
    images: GeotaggedImages,
) -> Generator[_Batch, None, None]:
    for window in windows:
        waiting: dict[_Kind, list[_Read]] = {}
        passed = 0
        for row, read in islice(reads, len(window)):
            passed += 1
            if isinstance(read, Exception):
                _left_out(images, row, read)
                continue
            kind, most = _kind(read), _most(read, size)
            waiting.setdefault(kind, []).append(read)
            if len(waiting[kind]) < most:
                if sum(map(len, waiting.values())) < WAITING * size:
                    continue
                kind = max(waiting, key=lambda each: len(waiting[each]))
            yield _Batch(waiting.pop(kind), passed)
            passed = 0
        for group in waiting.values():
            yield _Batch(group, passed)
            passed = 0
        yield _Batch([], passed)


def _kind(read: _Read) -> _Kind:
    if isinstance(read, _Prepared):
        return read.image.shape
    return read.file.height, read.file.width, read.file.subsampling


def _most(read: _Read, size: int) -> int:
    """Return how many such images make a batch: of large ones that a GPU decodes fewer, for its memory."""
    if isinstance(read, _Prepared):
        return size
    return min(size, MAX_PIXELS // (read.file.height * read.file.width))


def _left_out(images: GeotaggedImages, row: int, error: Exception) -> None:
    logger.warning("left out: %s: %s", images.rows["image"][row], error)


def _in_order(parts: list[_Part]) -> Encoded:
    rows = np.concatenate([np.asarray(part.rows, np.intp) for part in parts])
    order = np.argsort(rows)
    descriptors = np.concatenate([part.descriptors for part in parts])
    pictures = [picture for part in parts for picture in part.pictures]
    if pictures:
        pictures = [pictures[number] for number in order]
    return Encoded(rows[order], descriptors[order], pictures)
