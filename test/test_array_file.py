"""Arrays are read as NumPy wrote them, written as NumPy reads them, and refused where they are damaged."""

import pickle
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpr_ros.errors import InputError
from vpr_ros.files.array_file import ArrayWriter, read_array

RECORDS = np.dtype([("name", "<U5"), ("x", "<f8"), ("v", "i1", (3,))])


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("rows", [0, 1, 7])
def test_what_is_written_is_read(tmp_path, rows, mapped):
    array = np.zeros(rows, RECORDS)
    array["x"] = np.arange(rows)
    array["name"] = "abc"
    writer = ArrayWriter(tmp_path / "a.npy", array.shape, RECORDS)
    writer.append(array[:3])
    writer.append(array[3:])
    writer.close()
    assert np.array_equal(np.load(tmp_path / "a.npy"), array)
    read = read_array(tmp_path / "a.npy", mapped)
    assert np.array_equal(read, array)
    assert isinstance(read, np.memmap) == mapped


def test_rows_are_converted(tmp_path):
    writer = ArrayWriter(tmp_path / "a.npy", (4, 2), np.dtype("<f2"))
    writer.append(np.arange(4, dtype=np.float64).reshape(2, 2))
    writer.append(np.asfortranarray(np.arange(4, 8, dtype=np.float32).reshape(2, 2)))
    writer.close()
    assert np.load(tmp_path / "a.npy").tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_a_full_disk_has_its_errno():
    writer = ArrayWriter(Path("/dev/full"), (1 << 20,), np.dtype("<f4"))
    with pytest.raises(OSError, match="No space left"), closing(writer):
        writer.append(np.zeros(1 << 20, np.float32))


HUGE = [
    {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)},
    {"descr": "<f8", "fortran_order": False, "shape": (1 << 62, 1 << 62)},
    {"descr": "<f8", "fortran_order": False, "shape": (-1,)},
    {"descr": "|O", "fortran_order": False, "shape": (1,)},
]


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("header", HUGE, ids=str)
def test_a_header_that_lies(tmp_path, header, mapped):
    with (tmp_path / "a.npy").open("wb") as opened:
        np.lib.format.write_array_header_1_0(opened, header)
        opened.write(bytes(64))
    with pytest.raises(InputError, match=r"a\.npy: damaged"):
        read_array(tmp_path / "a.npy", mapped)


@pytest.mark.parametrize(
    "data", [b"", b"garbage", pickle.dumps([1]), b"PK\3\4" + bytes(50), b"\x93NUMPY\1\0\5\0{"]
)
def test_what_is_no_array(tmp_path, data):
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.npy: damaged"):
        read_array(tmp_path / "a.npy")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(at=st.integers(0, 120), value=st.integers(0, 255))
def test_any_damaged_header_is_an_array_or_is_refused(tmp_path_factory, at, value):
    file = tmp_path_factory.mktemp("array") / "a.npy"
    np.save(file, np.zeros(3, RECORDS))
    data = bytearray(file.read_bytes())
    data[at] = value
    file.write_bytes(data)
    with suppress(InputError):
        assert isinstance(read_array(file), np.ndarray)
