"""Pictures are found by their place, and a damaged one is none."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpr_ros.errors import InputError
from vpr_ros.maps.pictures import TABLE, Pictures, PictureWriter


def write(folder, pictures):
    writer = PictureWriter(folder)
    for picture in pictures:
        writer.append(picture)
    writer.close()


@settings(max_examples=40, deadline=None)
@given(pictures=st.lists(st.one_of(st.none(), st.binary(min_size=1, max_size=50)), min_size=1))
def test_what_is_written_is_read(tmp_path_factory, pictures):
    folder = tmp_path_factory.mktemp("map")
    write(folder, pictures)
    if any(pictures):
        kept = Pictures(folder)
        assert [kept.read(place) for place in range(len(pictures))] == pictures
        assert kept.read(len(pictures)) is None
        assert kept.read(-1) is None
    else:
        assert list(folder.iterdir()) == []


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, [bytes([number]) * 40 for number in range(1, 6)])
    return tmp_path


def test_a_damaged_picture_is_none_and_the_others_are_there(folder):
    data = bytearray((folder / "pictures.bin").read_bytes())
    data[2 * 40 + 7] ^= 1
    (folder / "pictures.bin").write_bytes(data)
    assert [Pictures(folder).read(place) is None for place in range(5)] == [False, False, True, False, False]


def test_of_a_cut_file_the_first_are_there(folder):
    os.truncate(folder / "pictures.bin", 90)
    assert [Pictures(folder).read(place) is None for place in range(5)] == [False, False, True, True, True]


@pytest.mark.parametrize(
    ("offset", "length"),
    [(-40, 40), (0, -1), (0, 0), (160, 41), (1 << 62, 40), (0, (1 << 31) - 1), (200, 40)],
)
def test_a_table_that_lies(folder, offset, length):
    table = np.load(folder / "pictures.npy")
    table[0]["offset"], table[0]["length"] = offset, length
    np.save(folder / "pictures.npy", table)
    assert Pictures(folder).read(0) is None
    assert Pictures(folder).read(1) == b"\2" * 40


@pytest.mark.parametrize("table", [np.zeros(5), np.zeros((5, 1), TABLE), np.zeros(5, [("offset", "<i8")])])
def test_another_table(folder, table):
    np.save(folder / "pictures.npy", table)
    with pytest.raises(InputError, match=r"pictures\.npy: .*build it again"):
        Pictures(folder)


def test_pictures_that_are_replaced_are_those_that_were_opened(folder):
    """The map was written anew while it was open."""
    kept = Pictures(folder)
    (folder / "pictures.bin").unlink()
    write(folder, [b"another", b"picture"])
    assert kept.read(0) == b"\1" * 40
    assert Pictures(folder).read(0) == b"another"


def test_pictures_that_are_cut_off_while_they_are_open_are_none(folder):
    kept = Pictures(folder)
    os.truncate(folder / "pictures.bin", 90)
    assert [kept.read(place) is None for place in range(5)] == [False, False, True, True, True]
    os.truncate(folder / "pictures.bin", 0)
    assert kept.read(0) is None


def open_files():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_the_file_is_closed_with_the_map(folder):
    before = open_files()
    kept = Pictures(folder)
    assert open_files() > before
    del kept
    assert open_files() == before
