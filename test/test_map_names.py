"""The names of a map's places: small, read where they are asked for, and refused where they are damaged."""

import json
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test.error_lines import input_error
from vpr_ros.geotagged import make_rows
from vpr_ros.maps import names as map_names
from vpr_ros.maps.names import BLOCK, LONGEST, TABLE, Names, NameWriter


def rows_of(images, session="a drive"):
    places = np.zeros(len(images))
    return make_rows("test", image=images, latitude=places, longitude=places, session=[session] * len(images))


def write(folder, rows, batch=700):
    folder.mkdir(exist_ok=True)
    writer = NameWriter(folder)
    for start in range(0, len(rows), batch):
        writer.append(rows[start : start + batch])
    writer.close()
    return Names(folder, len(rows))


def numbered(count):
    return [f"campus/2026-05-01/cam0_{number:06d}.jpg" for number in range(count)]


@settings(max_examples=50, deadline=None)
@given(
    images=st.lists(st.text(max_size=9), min_size=1, max_size=20),
    batch=st.integers(1, 9),
    data=st.data(),
)
def test_what_is_written_is_read_of_any_places(tmp_path_factory, images, batch, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(map_names, "BLOCK", 4)
        rows = rows_of(images)
        names = write(tmp_path_factory.mktemp("map"), rows, batch)
        places = np.array(data.draw(st.lists(st.integers(0, len(images) - 1))), np.int64)
        found = names.of(places)
    assert found["image"].tolist() == rows["image"][places].tolist()
    assert found["session"].tolist() == ["a drive"] * len(places)


def test_names_that_are_no_unicode_are_kept(tmp_path):
    """A file system may hold any bytes."""
    odd = b"Stra\xdfe.jpg".decode(errors="surrogateescape")
    assert write(tmp_path, rows_of(["a", odd, "\u00f6\U0001f697"])).of(np.arange(3))["image"].tolist() == [
        *("a", odd, "\u00f6\U0001f697")
    ]


def test_they_take_a_few_bytes_and_are_the_same_however_they_come(tmp_path):
    rows = rows_of(numbered(3 * BLOCK + 5))
    for name, batch in (("one", len(rows)), ("many", 100)):
        write(tmp_path / name, rows, batch)
    one, many = ((tmp_path / name / "names.bin").read_bytes() for name in ("one", "many"))
    assert one == many
    assert len(one) < 4 * len(rows)


def test_only_what_is_asked_for_is_read(tmp_path, monkeypatch):
    names = write(tmp_path, rows_of(numbered(3 * BLOCK)))
    data = bytearray((tmp_path / "names.bin").read_bytes())
    data[:50] = bytes(50)
    (tmp_path / "names.bin").write_bytes(data)
    assert names.of(np.array([BLOCK]))["image"].tolist() == numbered(BLOCK + 1)[-1:]
    with input_error(tmp_path / "names.bin", "damaged", "copy the map again"):
        names.of(np.array([BLOCK - 1]))


@pytest.mark.parametrize(
    "said",
    [
        *([], {}, 7, {"image": ["a", "b"]}, {"image": ["a"], "session": ["", ""]}),
        *({"image": ["a", 7], "session": ["", ""]}, {"image": "ab", "session": ["", ""]}),
        *({"image": {"a": 1, "b": 2}, "session": ["", ""]}, {"image": None, "session": None}),
        {"image": ["a", "b" * (LONGEST + 1)], "session": ["", ""]},
    ],
    ids=lambda said: str(said)[:40],
)
def test_names_that_are_none(tmp_path, said):
    names = write(tmp_path, rows_of(["a", "b"]))
    put(tmp_path, zlib.compress(json.dumps(said).encode()))
    with input_error(tmp_path / "names.bin", "damaged"):
        (names if said is None else Names(tmp_path, 2)).of(np.arange(2))


def put(folder, block):
    """Have a block stand where the first one was."""
    (folder / "names.bin").write_bytes(block)
    np.save(folder / "names.npy", np.array([(0, len(block))], TABLE))


@pytest.mark.parametrize(
    "block",
    [b"", b"garbage", zlib.compress(bytes(150 << 20)), zlib.compress(b"[" * 100_000), zlib.compress(b"\xff")],
    ids=["empty", "garbage", "bomb", "deep", "bytes"],
)
def test_a_block_that_is_none(tmp_path, block):
    write(tmp_path, rows_of(["a", "b"]))
    put(tmp_path, block)
    with input_error(tmp_path / "names.bin", "damaged"):
        Names(tmp_path, 2).of(np.arange(2))


@pytest.mark.parametrize("entry", [(-1, 10), (0, -10), (1 << 60, 10), (3, (1 << 31) - 1), (3, 4)])
def test_a_table_that_lies(tmp_path, entry):
    names = write(tmp_path, rows_of(numbered(2 * BLOCK)))
    table = np.load(tmp_path / "names.npy")
    table[1] = entry
    np.save(tmp_path / "names.npy", table)
    names = Names(tmp_path, 2 * BLOCK)
    assert names.of(np.arange(5))["image"].tolist() == numbered(5)
    with input_error(tmp_path / "names.bin", "damaged"):
        names.of(np.array([BLOCK]))


@pytest.mark.parametrize("table", [np.zeros(2), np.zeros(3, TABLE), np.zeros((2, 1), TABLE)])
def test_another_table(tmp_path, table):
    write(tmp_path, rows_of(numbered(2 * BLOCK)))
    np.save(tmp_path / "names.npy", table)
    with input_error(tmp_path / "names.npy", "copy the map again"):
        Names(tmp_path, 2 * BLOCK)


def test_a_name_that_nothing_could_have_is_refused(tmp_path):
    with input_error("bbbb...", "4097 characters: expected at most 4096"):
        write(tmp_path, rows_of(["a", "b" * (LONGEST + 1)]))
