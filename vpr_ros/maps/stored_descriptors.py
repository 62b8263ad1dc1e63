"""The descriptors of a map in a file that is never read whole, in half precision or in bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vpr_ros.errors import InputError
from vpr_ros.files.array_file import ArrayWriter, read_array
from vpr_ros.maps.manifest import DESCRIPTORS

#: float16 halves a descriptor; int8 quarters it: a byte a number, and a scale for each place.
Kind = Literal["float16", "int8"]
KINDS: tuple[Kind, ...] = get_args(Kind)
HALF = np.dtype("<f2")


class DescriptorFile:
    """The stored descriptors of an open map, memory-mapped.

    Args:
        folder: of the map.

    Raises:
        InputError: damaged.
    """

    def __init__(self, folder: Path) -> None:
        file = folder / DESCRIPTORS
        self._stored = read_array(file, mapped=True)
        kind = _kind_of(self._stored)
        if kind is None:
            raise InputError(
                f"{file}: {self._stored.dtype} of shape {self._stored.shape}, expected descriptors in "
                f"{' or '.join(KINDS)}: copy the map again, or build it again"
            )
        self.kind: Kind = kind

    @property
    def shape(self) -> tuple[int, int]:
        """Places and dimensions."""
        values = self._stored if self.kind == "float16" else self._stored["values"]
        return values.shape[0], values.shape[1]

    def rows(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the (M, P) descriptors of M places."""
        return _decoded(self._stored[places])


class DescriptorWriter:
    """Writes descriptors one block after the other.

    Args:
        file: to be written.
        count: places that will come.
        dimension: of their descriptors.
        kind: how they are stored.
    """

    def __init__(self, file: Path, count: int, dimension: int, kind: Kind) -> None:
        self._bytes = kind == "int8"
        shape = (count,) if self._bytes else (count, dimension)
        self._array = ArrayWriter(file, shape, _bytes_dtype(dimension) if self._bytes else HALF)

    def append(self, descriptors: NDArray[np.float32]) -> None:
        """Write (n, P) descriptors."""
        self._array.append(_as_bytes(descriptors) if self._bytes else descriptors)

    def close(self) -> None:
        """Write what is still in memory."""
        self._array.close()


def _bytes_dtype(dimension: int) -> np.dtype[Any]:
    return np.dtype([("scale", "<f4"), ("values", "i1", (dimension,))])


def _kind_of(stored: NDArray[Any]) -> Kind | None:
    if stored.ndim == 2 and stored.dtype == HALF:
        return "float16"
    values = stored.dtype["values"].shape if stored.dtype.names == ("scale", "values") else ()
    return "int8" if stored.ndim == 1 and values and stored.dtype == _bytes_dtype(values[0]) else None


def _as_bytes(descriptors: NDArray[np.float32]) -> NDArray[Any]:
    """Return the (n,) records of descriptors: a byte a number, and what brings the row back to its length."""
    largest = np.abs(descriptors).max(axis=1, keepdims=True)
    values = np.rint(descriptors * np.divide(127, largest, out=np.zeros_like(largest), where=largest > 0))
    stored = np.empty(len(descriptors), _bytes_dtype(descriptors.shape[1]))
    stored["values"] = values
    lengths = np.linalg.norm(values, axis=1)
    stored["scale"] = np.linalg.norm(descriptors, axis=1) / np.maximum(lengths, 1)
    return stored


def _decoded(stored: NDArray[Any]) -> NDArray[np.float32]:
    if stored.dtype == HALF:
        return np.asarray(stored, np.float32)
    decoded: NDArray[np.float32] = stored["values"] * stored["scale"][:, None]
    return decoded
