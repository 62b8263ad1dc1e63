"""Maps made of maps: places, descriptors and pictures stay together, and the index serves."""

import json

import numpy as np
import pytest

from test.error_lines import input_error
from test.small_maps import FINGERPRINT, in_a_row, rows_at, some_map, unit
from vpr_ros.files.atomic_folder import files_below
from vpr_ros.files.checksum import sum_of
from vpr_ros.geotagged import join_rows
from vpr_ros.maps.edit import check_encoder, keep, merge_sources, sizes_of, whole, without_repeated
from vpr_ros.maps.manifest import INDEX, MANIFEST, damaged
from vpr_ros.maps.pictures import Pictures
from vpr_ros.maps.source import Joined, MapSource, rows_of
from vpr_ros.maps.writer import InMemory
from vpr_ros.place_map import open_map


def merged(out, folders, supersede=None):
    """Merge maps as the command does; return what came of it, and the map."""
    *earlier, latest = without_repeated(whole([open_map(folder) for folder in folders]))
    said = merge_sources(out, earlier, latest, latest.place_map.geotag_std, supersede)
    opened = open_map(out, FINGERPRINT)
    assert damaged(out, opened.manifest) == []
    return said, opened


def check_places(opened, given):
    """See that the places are these: triples of rows, descriptors, and the seed that their pictures name."""
    assert len(opened) == sum(len(rows) for rows, _, _ in given)
    rows = join_rows([rows for rows, _, _ in given])
    assert opened.rows().tolist() == rows.tolist()
    descriptors = np.concatenate([each for _, each, _ in given])
    similarities = (opened.descriptors(np.arange(len(opened))) * descriptors).sum(axis=1)
    assert similarities.min() > 0.999
    place = 0
    for rows, _, seed in given:
        for row in rows:
            number = str(row["image"]).partition("/")[2].removesuffix(".png")
            assert opened.pictures.read(place) == f"picture {seed} {number}".encode()
            place += 1


@pytest.fixture
def first(tmp_path):
    rows = rows_at(in_a_row(30), "first")
    return tmp_path / "first", rows, some_map(tmp_path / "first", rows, 1, pictures=True)


@pytest.fixture
def second(tmp_path):
    """A later drive: it begins where the first one is half through, 1 m beside it."""
    rows = rows_at(in_a_row(40, east=150.0, north=1.0), "second drive", start=1000)
    return tmp_path / "second", rows, some_map(tmp_path / "second", rows, 2, pictures=True)


# --- merging


def test_two_maps_are_one_about_the_datum_of_the_first(tmp_path, first, second):
    said, opened = merged(tmp_path / "out", [first[0], second[0]])
    assert (said.places, said.superseded, said.renamed) == (70, 0, {})
    check_places(opened, [(*first[1:], 1), (*second[1:], 2)])
    assert opened.datum == open_map(first[0]).datum
    assert open_map(second[0]).datum != opened.datum
    assert opened.manifest.index == "Flat"
    query = second[2][7:8]
    assert opened.search(query, 3)[1][0, 0] == 37


def test_three_maps_of_which_later_ones_supersede_earlier_ones(tmp_path, first, second):
    third = rows_at(in_a_row(5, east=0.0, north=-1.0), "third", start=5000)
    some_map(tmp_path / "third", third, 3, pictures=True)
    said, opened = merged(tmp_path / "out", [first[0], second[0], tmp_path / "third"], supersede=3.0)
    assert opened.rows()["session"].tolist() == ["first"] * 10 + ["second drive"] * 40 + ["third"] * 5
    assert (said.places, said.superseded) == (55, 20)
    gone = first[1]["image"][[*range(5), *range(15, 30)]]
    assert not set(gone) & set(opened.rows()["image"])


def test_the_other_direction_supersedes_nothing(tmp_path, first):
    back = rows_at(in_a_row(30)[::-1], "back", heading=270.0, start=1000)
    some_map(tmp_path / "back", back, 2, pictures=True)
    said, _ = merged(tmp_path / "out", [first[0], tmp_path / "back"], supersede=5.0)
    assert (said.places, said.superseded) == (60, 0)


def test_all_of_the_earlier_map_may_be_superseded(tmp_path, first):
    rows = rows_at(in_a_row(30), "again", start=1000)
    descriptors = some_map(tmp_path / "again", rows, 2, pictures=True)
    said, opened = merged(tmp_path / "out", [first[0], tmp_path / "again"], supersede=1.0)
    assert (said.places, said.superseded) == (30, 30)
    check_places(opened, [(rows, descriptors, 2)])


def test_what_is_in_both_is_taken_once(tmp_path, first, second):
    merged(tmp_path / "both", [first[0], second[0]])
    said, opened = merged(tmp_path / "out", [first[0], tmp_path / "both", second[0]])
    check_places(opened, [(*first[1:], 1), (*second[1:], 2)])
    assert said.renamed == {}


def test_a_map_merged_into_itself(tmp_path, first, second):
    said, opened = merged(first[0], [first[0], second[0]])
    assert said.places == 70
    check_places(opened, [(*first[1:], 1), (*second[1:], 2)])
    assert sorted(each.name for each in tmp_path.iterdir()) == ["first", "second"]


def test_a_drive_of_the_same_name_gets_a_number(tmp_path, first):
    rows = rows_at(in_a_row(5, north=50.0), "first", start=1000)
    some_map(tmp_path / "other", rows, 2)
    said, opened = merged(tmp_path / "out", [first[0], tmp_path / "other"])
    assert said.renamed == {"first": "first (2)"}
    assert opened.rows()["session"].tolist() == ["first"] * 30 + ["first (2)"] * 5


def test_maps_with_and_without_pictures(tmp_path, first):
    some_map(tmp_path / "other", rows_at(in_a_row(5, north=50.0), "other", start=1000), 2)
    _, opened = merged(tmp_path / "out", [tmp_path / "other", first[0]])
    assert [opened.pictures.read(place) for place in (0, 4)] == [None, None]
    assert opened.pictures.read(5) == b"picture 1 0"


def test_positions_are_known_as_well_as_the_worst_are(tmp_path, first):
    some_map(tmp_path / "worse", rows_at(in_a_row(5, north=50.0), "worse"), 2, geotag_std=3.5)
    assert merged(tmp_path / "out", [first[0], tmp_path / "worse"])[1].geotag_std == 3.5
    assert merged(tmp_path / "out", [tmp_path / "worse", first[0]])[1].geotag_std == 3.5


def test_maps_of_two_encoders(tmp_path, first):
    some_map(tmp_path / "other", rows_at(in_a_row(5)), fingerprint="0" * 64)
    with input_error(tmp_path / "other", "0" * 12, first[0], "f" * 12, "same weights"):
        merged(tmp_path / "out", [first[0], tmp_path / "other"])
    check_encoder(tmp_path, FINGERPRINT, open_map(first[0]))


def as_format_1(folder):
    """Make of a small map what an earlier version wrote."""
    manifest = json.loads((folder / MANIFEST).read_text())
    pictures = Pictures(folder)
    (folder / "images").mkdir()
    for place in range(manifest["places"]):
        (folder / f"images/{place:06d}.jpg").write_bytes(pictures.read(place))
    np.save(folder / "places.npy", open_map(folder).rows())
    for name in ("pictures.bin", "pictures.npy", "centre.npy", "names.bin", "names.npy"):
        (folder / name).unlink()
    (folder / MANIFEST).unlink()
    kept = ("version", "encoder", "dimension", "metric", "places", "datum", "geotag_std", "unrelated")
    sums = {name: sum_of(folder / name) for name in files_below(folder)}
    written = {"format": 1, **{name: manifest[name] for name in kept}, "sha256": sums}
    (folder / MANIFEST).write_text(json.dumps(written))


def test_maps_of_an_earlier_format(tmp_path, first, second):
    as_format_1(first[0])
    _, opened = merged(tmp_path / "out", [first[0], second[0]])
    check_places(opened, [(*first[1:], 1), (*second[1:], 2)])
    assert opened.manifest.format == 2
    _, opened = merged(tmp_path / "out", [second[0], first[0]])
    check_places(opened, [(*second[1:], 2), (*first[1:], 1)])
    merged(first[0], [first[0], second[0]])
    check_places(open_map(first[0]), [(*first[1:], 1), (*second[1:], 2)])
    assert not (first[0] / "images").exists()


# --- cutting


def test_some_places_of_a_map(tmp_path, first):
    chosen = np.zeros(30, bool)
    chosen[[2, 3, 17, 29]] = True
    keep(open_map(first[0]), chosen, tmp_path / "out")
    opened = open_map(tmp_path / "out", FINGERPRINT)
    check_places(opened, [(first[1][chosen], first[2][chosen], 1)])
    assert opened.datum == open_map(first[0]).datum
    assert opened.geotag_std == 2.0


def test_a_map_cut_in_place(tmp_path, first):
    chosen = np.arange(30) % 2 == 0
    keep(open_map(first[0]), chosen, first[0])
    check_places(open_map(first[0]), [(first[1][chosen], first[2][chosen], 1)])


def test_an_edited_map_says_that_it_has_no_calibration(tmp_path, first, caplog):
    (first[0] / "calibration.json").write_text("{}")
    keep(open_map(first[0]), np.ones(30, bool), tmp_path / "out")
    assert "run training/calibrate.py" in caplog.text
    assert str(tmp_path / "out") in caplog.text
    assert not (tmp_path / "out" / "calibration.json").exists()


def test_without_room_it_is_not_begun(tmp_path, first, monkeypatch):
    import shutil

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    with input_error(tmp_path / "out", "MB are free", "make room"):
        keep(open_map(first[0]), np.ones(30, bool), tmp_path / "out")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["first"]


# --- the index of what comes out


@pytest.fixture
def many(tmp_path, monkeypatch):
    """A large map, where 1000 places of 32 dimensions are many."""
    monkeypatch.setattr("vpr_ros.maps.index.EXACT_BYTES", 4 * 32 * 1000)
    monkeypatch.setattr("vpr_ros.maps.index.CODE", 4)
    return rows_at(in_a_row(2000, 1.0))


def built(folder, rows, **options):
    return folder, some_map(folder, rows, 1, dimension=32, **options)


def test_what_it_was_trained_to_stays(tmp_path, many):
    folder, _ = built(tmp_path / "map", many, index="IVF40,PQ8np", stored="none")
    keep(open_map(folder), np.arange(2000) % 3 > 0, tmp_path / "out")
    opened = open_map(tmp_path / "out")
    assert opened.manifest.index == "IVF40,PQ8np"
    before = open_map(folder).descriptors(np.flatnonzero(np.arange(2000) % 3 > 0))
    agreement = (opened.descriptors(np.arange(len(opened))) * before).sum(axis=1)
    assert np.median(agreement) > 0.9999  # the code of what a code stands for is mostly that code
    assert agreement.min() > 0.8


def test_a_map_without_descriptors_says_what_is_lost(tmp_path, many, caplog):
    folder, _ = built(tmp_path / "map", many, index="IVF40,PQ8np", stored="none")
    keep(open_map(folder), np.arange(2000) < 10, tmp_path / "out")
    assert open_map(tmp_path / "out").manifest.index == "IVF40,PQ8np"
    assert f"{folder}: keeps no descriptors beside its index IVF40,PQ8np" in caplog.text


def test_a_small_part_of_a_large_map_is_searched_exactly(tmp_path, many):
    folder, descriptors = built(tmp_path / "map", many)
    before = open_map(folder).manifest
    assert "PQ" in before.index
    keep(open_map(folder), np.arange(2000) < 500, tmp_path / "out")
    opened = open_map(tmp_path / "out")
    assert (opened.manifest.index, opened.manifest.rerank, opened.stored) == ("Flat", 0, None)
    assert (opened.descriptors(np.arange(500)) * descriptors[:500]).sum(axis=1).min() > 0.99


def test_small_maps_that_are_large_together(tmp_path, many):
    folders = [built(tmp_path / f"{start}", many[start : start + 900])[0] for start in (0, 900)]
    assert open_map(folders[0]).manifest.index == "Flat"
    _, opened = merged(tmp_path / "out", folders)
    assert "PQ" in opened.manifest.index
    assert opened.stored is not None
    assert len(opened) == 1800


@pytest.mark.parametrize("index", ["HNSW8", "IVF12,Flat", "SQ8"])
@pytest.mark.parametrize("size", [50, 1800])
def test_an_index_that_was_asked_for_stays(tmp_path, many, index, size):
    folder, _ = built(tmp_path / "map", many[:900], index=index)
    other, _ = built(tmp_path / "other", many[900:1800])
    if size == 50:
        keep(open_map(folder), np.arange(900) < 50, tmp_path / "out")
    else:
        merged(tmp_path / "out", [folder, other])
    opened = open_map(tmp_path / "out")
    expected = index if size == 50 or not index.startswith("IVF") else "IVF46,Flat"
    assert (opened.manifest.index, len(opened)) == (expected, size)


# --- sources


def test_a_source_of_several_is_read_block_by_block(tmp_path, first, second, monkeypatch):
    monkeypatch.setattr("vpr_ros.maps.source.BLOCK", 8)
    sources = whole([open_map(first[0]), open_map(second[0])])
    rows = join_rows([source.rows for source in sources])
    joined = Joined(sources, rows)
    assert (joined.count, joined.dimension) == (70, 8)
    blocks = list(joined.blocks())
    assert max(len(block.rows) for block in blocks) == 8
    assert join_rows([block.rows for block in blocks]).tolist() == rows.tolist()
    found = np.concatenate([block.descriptors for block in blocks])
    assert np.array_equal(found, np.concatenate([first[2], second[2]]))
    pictures = [picture for block in blocks for picture in block.pictures]
    assert (len(pictures), pictures[31]) == (70, b"picture 2 1")


@pytest.mark.parametrize("most", [1, 10, 69, 70, 1000])
def test_a_sample_of_several_sources(first, second, most):
    sources = whole([open_map(first[0]), open_map(second[0])])
    sample = Joined(sources, join_rows([source.rows for source in sources])).sample(most)
    assert len(sample) <= max(most, 2)
    assert len(sample) >= min(most, 70) - 2
    known = {each.tobytes() for each in np.concatenate([first[2], second[2]])}
    assert {each.tobytes() for each in sample} <= known


def test_the_rows_of_any_source(first):
    source = InMemory(8)
    for part in (first[1][:7], first[1][7:]):
        source.add(unit(np.random.default_rng(0), len(part)), part)
    assert rows_of(source).tolist() == first[1].tolist()
    assert rows_of(MapSource(open_map(first[0]), np.array([3, 5]))).tolist() == first[1][[3, 5]].tolist()


def test_the_sizes_of_a_maps_files(first):
    sizes = sizes_of(open_map(first[0]))
    assert sizes == {each.name: each.stat().st_size for each in first[0].iterdir()}
    assert sizes[INDEX] > 30 * 8 * 4
