"""The file of a map's index: read though it may come from elsewhere, and written though it may be large."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import faiss
import numpy as np
from numpy.typing import NDArray

from vpr_ros.errors import InputError
from vpr_ros.maps.index import KINDS, forget_rows, problem_with

#: Where FAISS's file of a flat index says how many vectors it has; of how many numbers, its last bytes before
#: them say.
_COUNT_AT, _NUMBERS = 8, 8
#: Bytes that a file may always announce for one vector: 4096 times 4096 numbers of a rotation, four times.
LEAST_LIMIT = 1 << 28
#: Tables for distances, which are made anew at every start.
_NO_TABLES = faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE | getattr(faiss, "IO_FLAG_PQ_SKIP_SDC_TABLE", 0)
#: What Ubuntu's FAISS, 1.7, has not: it reads all into memory, and believes what a file announces.
_MAPS, _LIMITS = hasattr(faiss, "ZeroCopyIOReader"), hasattr(faiss, "set_deserialization_loop_limit")
_limits = Lock()


def read_index(file: Path, mapped: bool) -> faiss.Index:
    """Read an index, memory-mapped or into memory.

    A mapped one is read where it is looked at: its lists, codes and graph. It must not be added to or
    emptied, for FAISS would end the process.

    Raises:
        InputError: damaged, of another kind, or one that names another file.
    """
    # FAISS opens lists of another file only with its plain reader where this flag is set: it is not used here
    flags = faiss.IO_FLAG_ONDISK_SAME_DIR | _NO_TABLES
    size = file.stat().st_size
    try:
        held = np.memmap(file, np.uint8, mode="r") if mapped and _MAPS else None
        if held is None:
            reader = faiss.BufferedIOReader(faiss.FileIOReader(str(file)))
        else:  # not FAISS's own mapping, which reads beyond the end of a file that is cut
            reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(held), size)
        with _limited(size):
            index = faiss.read_index(reader, flags)
        if held is not None and reader.rp_ != size:  # half of a last number is one to that reader
            raise ValueError(f"ends at byte {reader.rp_} of {size}")
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{file}: damaged or not a FAISS index: build the map again") from error
    index.referenced_objects = [held]  # for as long as the index is
    if problem := problem_with(index) or ("" if index.is_trained else "it is not trained"):
        raise InputError(f"{file}: {problem}: {KINDS}: build the map again")
    forget_rows(index)  # a table that a file brings along would be believed
    return index


def read_trained(file: Path) -> faiss.Index:
    """Read what an index was trained to, without its descriptors, to be filled with others."""
    index = read_index(file, mapped=False)
    index.reset()
    return index


def write_index(index: faiss.Index, file: Path) -> None:
    """Write an index; raises OSError where there is no room: FAISS's own writer does not tell at the end."""
    with file.open("wb") as opened:
        faiss.write_index(index, faiss.PyCallbackIOWriter(opened.write))


class FlatIndexWriter:
    """Writes the file that FAISS writes of an IndexFlatIP.

    Args:
        file: to be written.
        count: vectors that will come.
        dimension: of them.
    """

    def __init__(self, file: Path, count: int, dimension: int) -> None:
        header = bytearray(faiss.serialize_index(faiss.IndexFlatIP(dimension)).tobytes())
        struct.pack_into("<q", header, _COUNT_AT, count)
        struct.pack_into("<q", header, len(header) - _NUMBERS, count * dimension)
        self._opened = file.open("wb")
        self._opened.write(header)

    def append(self, descriptors: NDArray[np.float32]) -> None:
        """Write (n, P) vectors."""
        self._opened.write(np.ascontiguousarray(descriptors, "<f4").data)

    def close(self) -> None:
        """Write what is still in memory."""
        self._opened.close()


@contextmanager
def _limited(size: int) -> Iterator[None]:
    """Have FAISS refuse what announces more than a file of that many bytes can hold."""
    if not _LIMITS:
        yield
        return
    with _limits:  # they are FAISS's, not a thread's
        before = faiss.get_deserialization_loop_limit(), faiss.get_deserialization_vector_byte_limit()
        faiss.set_deserialization_loop_limit(size)
        # FAISS also asks for the matrix that a reduction to its first dimensions stands for
        faiss.set_deserialization_vector_byte_limit(max(size, LEAST_LIMIT) + 1)
        try:
            yield
        finally:
            faiss.set_deserialization_loop_limit(before[0])
            faiss.set_deserialization_vector_byte_limit(before[1])
