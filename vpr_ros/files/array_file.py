"""An .npy file: written one block after the other, and read though it may be damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_ros.errors import InputError, first_line


class ArrayWriter:
    """Writes the rows of one array as they come.

    Args:
        file: to be written.
        shape: of the whole array.
        dtype: of its elements.
    """

    def __init__(self, file: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._opened = file.open("wb")
        described = np.lib.format.dtype_to_descr(dtype)  # type: ignore[no-untyped-call]
        header = {"descr": described, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._opened, header)  # type: ignore[no-untyped-call]

    def append(self, rows: NDArray[Any]) -> None:
        """Write some rows, converted to the array's type."""
        # not tofile: of a full disk that tells no errno
        self._opened.write(np.ascontiguousarray(rows, self._dtype).tobytes())

    def close(self) -> None:
        """Write what is still in memory."""
        self._opened.close()


def read_array(file: Path, mapped: bool = False) -> NDArray[Any]:
    """Return the array of a file, memory-mapped or in memory; raises InputError where it is damaged."""
    try:
        # mapped first, whatever is asked: so nothing is allocated for a shape that the file does not hold
        array = np.lib.format.open_memmap(file, mode="r")  # type: ignore[no-untyped-call]
    except OSError:
        raise
    except Exception as error:  # a damaged header raises whatever its parser stumbles over
        raise InputError(
            f"{file}: damaged ({first_line(error)}): copy the map again, or build it again"
        ) from error
    return array if mapped else np.array(array)
