"""Shards outlive what interrupts a build, are whole or not there, and serve the build that they are of."""

import errno
import json
import logging
import os
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test.error_lines import input_error
from test.mortal import killed_at
from test.sharing import rows_at, unit_descriptors
from vpr_ros.engines.batches import Encoded
from vpr_ros.errors import InputError
from vpr_ros.files.atomic_folder import files_below, leftovers, replacing, writer
from vpr_ros.maps import shards as map_shards
from vpr_ros.maps.shards import Shards, building_folder, plan_of, shards_beside

DIMENSION = 6
ROWS = rows_at([(3 * row, 0) for row in range(10)])
DESCRIPTORS = unit_descriptors(len(ROWS), DIMENSION).numpy()
#: Rows whose images do not decode: all of the third window.
LOST = {1, 8, 9}
KEPT = [row for row in range(len(ROWS)) if row not in LOST]


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(map_shards, "SHARD", 4)


def encoded(window, pictures=True):
    rows = np.array([row for row in window if row not in LOST], np.intp)
    jpegs = [b"picture" * int(row) for row in rows] if pictures else []
    return Encoded(rows, DESCRIPTORS[rows], jpegs)


def shards_in(folder, done=3, pictures=True):
    folder.mkdir(exist_ok=True)
    shards = Shards(folder, ROWS, DIMENSION)
    for window in shards.missing()[:done]:
        shards.write(window, encoded(window, pictures))
    return shards


def plan(weights="a", rows=ROWS, data="data", picture_width=240):
    return plan_of(weights, rows, [Path(data)], picture_width)


@contextmanager
def building(tmp_path, **other):
    with shards_beside(tmp_path / "map", ROWS, DIMENSION, plan(**other)) as shards:
        yield shards


def stop_after(tmp_path, windows, error=KeyboardInterrupt, **other):
    """Build until some windows are encoded, and then no further."""

    def build():
        with building(tmp_path, **other) as shards:
            for window in shards.missing()[:windows]:
                shards.write(window, encoded(window))
            raise error

    with pytest.raises(error):
        build()


# --- a source of a map


def test_all_places_in_order(tmp_path):
    shards = shards_in(tmp_path)
    assert (shards.count, shards.dimension) == (len(KEPT), DIMENSION)
    blocks = list(shards.blocks())
    assert all(len(block.rows) for block in blocks)
    np.testing.assert_array_equal(np.concatenate([block.descriptors for block in blocks]), DESCRIPTORS[KEPT])
    assert np.concatenate([block.rows for block in blocks]).tobytes() == ROWS[KEPT].tobytes()
    assert [jpeg for block in blocks for jpeg in block.pictures] == [b"picture" * row for row in KEPT]


def test_without_pictures(tmp_path):
    assert [len(block.pictures) for block in shards_in(tmp_path, pictures=False).blocks()] == [0, 0]


@pytest.mark.parametrize("most", [1, 2, 3, 6, 7, 100])
def test_a_sample_is_evenly_chosen(tmp_path, most):
    sample = shards_in(tmp_path).sample(most)
    places = np.unique(np.linspace(0, len(KEPT) - 1, min(most, len(KEPT))).astype(int))
    np.testing.assert_array_equal(sample, DESCRIPTORS[KEPT][places])


def test_several_processes_share_the_windows(tmp_path):
    shards = shards_in(tmp_path, done=1)
    shares = [shards.missing(rank, 2) for rank in range(2)]
    assert shares == [[range(8, 10)], [range(4, 8)]]
    assert sorted([*shares[0], *shares[1]], key=min) == shards.missing()
    assert shards.done() == 4


# --- whole or not there


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_damaged_shard_is_named_removed_and_missing(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("shards")
    shards = shards_in(folder)
    file = folder / "000000004.npz"
    whole = file.read_bytes()
    if data.draw(st.booleans(), "cut"):
        file.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    else:  # its descriptors, which nothing but the sum tells from others
        place = whole.index(DESCRIPTORS[4].tobytes()) + data.draw(st.integers(0, 4 * 4 * DIMENSION - 1))
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
    with input_error(file, "damaged", "run the same command again"):
        list(shards.blocks())
    assert shards.missing() == [range(4, 8)]


def test_a_full_disk_leaves_no_half_shard(tmp_path, monkeypatch):
    shards = shards_in(tmp_path, done=1)
    before = files_below(tmp_path)

    def fill_up(file, content):
        with file.open("wb") as opened:
            opened.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_up)
    with pytest.raises(OSError, match="No space left on device") as caught:
        shards.write(range(4, 8), encoded(range(4, 8)))
    assert caught.value.filename == str(tmp_path)  # so that the command tells it in a line
    assert files_below(tmp_path) == before


def test_what_is_no_array_is_not_executed(tmp_path):
    shards = shards_in(tmp_path)
    file = tmp_path / "000000000.npz"
    np.savez(file, rows=np.array([print], object), descriptors=0, lengths=0, pictures=0)
    with input_error(file, "damaged"):
        list(shards.blocks())


# --- begun, interrupted and gone on with


def test_nothing_is_left_of_a_build_that_ends(tmp_path):
    with building(tmp_path) as shards:
        for window in shards.missing():
            shards.write(window, encoded(window))
        assert shards.folder == building_folder(tmp_path / "map")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError, OSError, SystemExit])
def test_an_interrupted_build_goes_on_and_both_is_said(tmp_path, caplog, error):
    caplog.set_level(logging.INFO)
    stop_after(tmp_path, 2, error)
    assert "8 of 10 images are encoded: the same command goes on" in caplog.text
    caplog.clear()
    with building(tmp_path) as shards:
        assert shards.missing() == [range(8, 10)]
        shards.write(range(8, 10), encoded(range(8, 10)))
        assert shards.count == len(KEPT)
    assert "going on: 8 of 10 images were encoded before" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_before_anything_is_encoded_leaves_nothing(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    stop_after(tmp_path, 0)
    assert list(tmp_path.iterdir()) == []
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("other", "name"),
    [
        ({"weights": "b"}, "other weights:"),
        ({"rows": ROWS[::-1]}, "other images:"),
        ({"data": "elsewhere"}, "other images:"),
        ({"picture_width": 0}, "other pictures:"),
        ({"weights": "b", "picture_width": 0}, "other weights, pictures:"),
    ],
    ids=str,
)
def test_another_build_starts_afresh_and_says_why(tmp_path, caplog, other, name):
    stop_after(tmp_path, 2)
    stop_after(tmp_path, 1, **other)
    assert f"left by a build with {name} starting afresh" in caplog.text
    # and what is there now is the other one's
    with building(tmp_path, **other) as shards:
        assert len(shards.missing()) == 2


def test_shards_of_another_length_are_no_good(tmp_path, monkeypatch, caplog):
    stop_after(tmp_path, 2)
    monkeypatch.setattr(map_shards, "SHARD", 5)
    with building(tmp_path) as shards:
        assert len(shards.missing()) == 2
    assert "with other shards" in caplog.text


@pytest.mark.parametrize("content", [None, "", "{", "[]", '"a"', json.dumps({"weights": "a"})], ids=str)
def test_a_plan_that_is_lost_or_damaged(tmp_path, content):
    stop_after(tmp_path, 2)
    file = building_folder(tmp_path / "map") / map_shards.PLAN
    file.unlink() if content is None else file.write_text(content)
    with building(tmp_path) as shards:
        assert len(shards.missing()) == 3
        assert json.loads(file.read_text()) == plan()


def test_killed_anywhere_it_leaves_what_is_gone_on_with_or_removed(tmp_path, monkeypatch):
    """By whoever writes the map next; what can be gone on with it leaves alone."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    prepared_by = []

    def build(folder):
        with building(folder) as shards:
            for window in shards.missing():
                shards.write(window, encoded(window))

    for step in range(1, 1000, 3):  # before and after calls in turn
        folder, out = tmp_path / f"{step}", tmp_path / f"{step}" / "map"
        folder.mkdir()
        stop_after(folder, 1, weights="b")  # first of all this is removed
        died = killed_at(step, lambda folder=folder: build(folder))
        prepared = building_folder(out)
        before = files_below(prepared) if prepared.exists() else []
        assert not before or map_shards.PLAN in before
        prepared_by.append(len([name for name in before if name.endswith(".npz")]))
        assert {each.name for each in leftovers(out)} == names(folder) - {prepared.name}
        with replacing(out) as partial:
            (partial / "manifest.json").touch()
        assert names(folder) == {"map"} | ({prepared.name} if before else set())
        assert not before or files_below(prepared) == before
        if not died:
            break
    assert len(prepared_by) > 20
    assert {1, 2, 3, 0} <= {*prepared_by}
    assert prepared_by[-1] == 0


def names(folder):
    return {each.name for each in folder.iterdir()}


def test_what_is_being_built_is_left_alone_by_others(tmp_path):
    out = tmp_path / "map"
    with building(tmp_path) as shards:
        shards.write(range(4), encoded(range(4)))
        assert f"process {os.getpid()} " in writer(out)
        with replacing(out) as partial:
            (partial / "manifest.json").touch()
        assert shards.done() == 4
        with input_error(out, "being written"), building(tmp_path):
            pytest.fail("it began")
    assert writer(out) is None
    assert names(tmp_path) == {"map"}


def test_one_build_of_a_map_at_a_time(tmp_path):
    with building(tmp_path) as shards:
        shards.write(range(4), encoded(range(4)))
        with input_error(tmp_path / "map", "being written"), building(tmp_path, weights="b"):
            pytest.fail("it began")
        assert shards.done() == 4


def test_shards_lie_beside_what_a_link_points_to(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "map").symlink_to(tmp_path / "disk" / "monday")
    assert building_folder(tmp_path / "map") == tmp_path / "disk" / ".monday.building"
