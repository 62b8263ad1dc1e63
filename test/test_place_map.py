"""The map: what is written is what is found, and a damaged or foreign one is refused with a reason."""

import hashlib
import json
import pickle
import re
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test.conftest import DATUM, texture
from vpr_ros.errors import InputError
from vpr_ros.geodesy import Datum, to_enu, to_geodetic
from vpr_ros.geotagged import COLUMNS, make_rows
from vpr_ros.images.pixels import compress
from vpr_ros.maps.writer import InMemory, write_map
from vpr_ros.place_map import open_map

FINGERPRINT = "f" * 64


def unit(generator, count, dimension):
    vectors = generator.standard_normal((count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def rows_at(enu, **columns):
    geodetic = to_geodetic(np.asarray(enu, np.float64), DATUM)
    names = [f"image {number}" for number in range(len(geodetic))]
    return make_rows(
        "test",
        image=names,
        latitude=geodetic[:, 0],
        longitude=geodetic[:, 1],
        altitude=columns.pop("altitude", geodetic[:, 2]),
        **columns,
    )


def along(count, step=10.0):
    return np.column_stack([np.arange(count) * step, np.zeros(count), np.zeros(count)])


def write(folder, descriptors, rows, pictures=(), datum=None, geotag_std=2.0, batch=5, **options):
    """Write a map, `batch` places at a time; return its folder."""
    source = InMemory(descriptors.shape[1])
    for start in range(0, len(rows), batch):
        part = slice(start, start + batch)
        source.add(descriptors[part], rows[part], pictures[part])
    assert source.count == len(rows)
    write_map(folder, source, FINGERPRINT, geotag_std, datum, progress=False, **options)
    return folder


def build(folder, count=12, dimension=8, seed=0, pictures=False, **options):
    """Write a map of places 10 metres apart; return their descriptors."""
    descriptors = unit(np.random.default_rng(seed), count, dimension)
    rows = rows_at(
        along(count), heading=np.arange(count) * 7.0 % 360, stamp=np.arange(count), session=["a"] * count
    )
    shots = [compress(texture(number)) for number in range(count)] if pictures else []
    write(folder, descriptors, rows, shots, **options)
    return descriptors


@pytest.fixture
def folder(tmp_path):
    build(tmp_path / "map")
    return tmp_path / "map"


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


def change_manifest(folder, **changes):
    manifest = manifest_of(folder) | changes
    (folder / "manifest.json").write_text(json.dumps(manifest))


def replace_file(folder, name, data):
    """Replace a file, and its sum in the manifest with it: as another program would."""
    (folder / name).write_bytes(data)
    file = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    change_manifest(folder, files=manifest_of(folder)["files"] | {name: file})


def refusal(folder, named, fingerprint=FINGERPRINT):
    """Return the one line that a map is refused with; it names the file and ends in a cure."""
    with pytest.raises(InputError) as caught:
        open_map(folder, fingerprint)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(str(named))
    assert re.search("build|copy|install|expected|name the weights", line.split(": ", 1)[1])
    return line


# --- what is written is what is found


def test_a_map_opens_as_it_was_built(tmp_path):
    descriptors = build(tmp_path / "map")
    opened = open_map(tmp_path / "map", FINGERPRINT)
    assert len(opened) == 12
    assert opened.folder == tmp_path / "map"
    assert opened.fingerprint == FINGERPRINT
    assert opened.geotag_std == 2.0
    assert opened.rows()["image"].tolist() == [f"image {n}" for n in range(12)]
    assert opened.places["heading"].tolist() == [7.0 * n for n in range(12)]
    assert opened.places["stamp"].tolist() == list(range(12))
    assert opened.rows()["session"].tolist() == ["a"] * 12
    # row i of the index is place i
    kept = np.stack([opened.index.reconstruct(n) for n in range(12)])
    assert np.array_equal(kept, descriptors)
    similarities, places = opened.search(descriptors, 1)
    assert places[:, 0].tolist() == list(range(12))
    assert np.allclose(similarities, 1, atol=1e-6)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 40),
    dimension=st.integers(2, 20),
    k=st.integers(1, 60),
)
def test_search_is_the_order_by_cosine(tmp_path_factory, seed, count, dimension, k):
    generator = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("map") / "map"
    descriptors = build(folder, count, dimension, seed)
    queries = unit(generator, 3, dimension)
    similarities, places = open_map(folder).search(queries, k)
    cosines = queries.astype(np.float64) @ descriptors.T.astype(np.float64)
    assert places.shape == similarities.shape == (3, min(k, count))  # k beyond the map is cut
    assert (np.diff(similarities, axis=1) <= 0).all()
    assert all(len(set(row)) == len(row) for row in places.tolist())
    assert np.allclose(similarities, -np.sort(-cosines, axis=1)[:, :k], atol=1e-5)
    assert np.allclose(np.take_along_axis(cosines, places, axis=1), similarities, atol=1e-5)


def test_rows_are_whole_rows_of_any_places(tmp_path):
    build(tmp_path / "map", count=30)
    opened = open_map(tmp_path / "map")
    rows = opened.rows()
    assert rows.dtype.names == tuple(COLUMNS)
    assert {*opened.places.dtype.names} == {*COLUMNS} - {"image", "session"}
    for name in opened.places.dtype.names:
        assert np.array_equal(rows[name], opened.places[name])
    some = np.array([7, 29, 0, 7])
    assert opened.rows(some).tolist() == rows[some].tolist()
    assert len(opened.rows(some[:0])) == 0


def test_the_datum_is_the_first_place_unless_it_is_given(tmp_path):
    build(tmp_path / "first")
    opened = open_map(tmp_path / "first")
    assert (opened.datum.latitude, opened.datum.longitude) == pytest.approx((52.0, 5.0), abs=1e-12)
    assert opened.datum.altitude == pytest.approx(10.0, abs=1e-6)
    assert np.allclose(opened.enu, along(12), atol=1e-3)
    other = Datum(52.001, 5.002, -3.0)
    build(tmp_path / "given", datum=other)
    opened = open_map(tmp_path / "given")
    assert opened.datum == other
    places = opened.places
    expected = to_enu(places["latitude"], places["longitude"], places["altitude"], other)
    assert np.array_equal(opened.enu, expected)
    assert np.linalg.norm(opened.enu[0, :2]) > 100


def test_places_of_unknown_altitude_lie_on_the_datum(tmp_path):
    rows = rows_at(along(5), altitude=[np.nan] * 5)
    write(tmp_path / "map", unit(np.random.default_rng(0), 5, 4), rows)
    opened = open_map(tmp_path / "map")
    assert opened.datum.altitude == 0
    assert np.isfinite(opened.enu).all()
    assert np.abs(opened.enu[:, 2]).max() < 0.01
    assert np.isnan(opened.places["altitude"]).all()  # unknown stays unknown


def test_spacing_is_the_median_distance_to_the_nearest(tmp_path):
    rows = rows_at([[x, 0.0, 0.0] for x in (0.0, 2.0, 7.0, 100.0, 103.0)])
    write(tmp_path / "map", unit(np.random.default_rng(0), 5, 4), rows)
    assert open_map(tmp_path / "map").spacing == pytest.approx(3.0, abs=1e-3)  # of 2 2 3 3 5
    build(tmp_path / "one", count=1)
    assert open_map(tmp_path / "one").spacing == 0


def test_unrelated_is_the_similarity_of_places_far_apart(tmp_path):
    """Two streets 1 km apart: alike within a street, of cosine 0.3 between them."""
    streets = np.array([[1.0, 0.0], [0.3, np.sqrt(1 - 0.09)]], np.float32)
    enu = np.concatenate([along(6, 1.0), along(6, 1.0) + np.array([1000.0, 0.0, 0.0])])
    write(tmp_path / "map", np.repeat(streets, 6, axis=0), rows_at(enu))
    unrelated = open_map(tmp_path / "map").unrelated
    assert unrelated.mean == pytest.approx(0.3, abs=1e-5)
    assert 0 < unrelated.std < 0.01


def test_unrelated_of_random_descriptors_is_that_of_chance(tmp_path):
    build(tmp_path / "map", count=200, dimension=64)
    unrelated = open_map(tmp_path / "map").unrelated
    assert unrelated.mean == pytest.approx(0, abs=0.01)
    assert unrelated.std == pytest.approx(1 / 8, rel=0.1)  # 1 / sqrt(dimension)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("step", [0.0, 10.0])
def test_a_map_of_few_places_or_of_one_spot_is_a_map(tmp_path, count, step):
    write(tmp_path / "map", unit(np.random.default_rng(0), count, 4), rows_at(along(count, step)))
    unrelated = open_map(tmp_path / "map", FINGERPRINT).unrelated
    assert np.isfinite(unrelated.mean)
    assert unrelated.std > 0


def test_a_whole_number_of_metres_is_a_number(tmp_path):
    build(tmp_path / "map", geotag_std=2)
    assert open_map(tmp_path / "map").geotag_std == 2.0


def test_pictures_are_kept_and_looked_up_by_place(tmp_path):
    build(tmp_path / "map", pictures=True)
    opened = open_map(tmp_path / "map")
    for place in range(12):
        difference = np.abs(opened.image(place).astype(int) - texture(place)).mean()
        assert difference < 10  # JPEG; another texture differs by about 85
    assert opened.image(12) is None


def test_a_map_without_pictures_has_none(folder):
    assert open_map(folder).image(0) is None
    assert not list(folder.glob("pictures*"))


def test_a_picture_that_is_none_is_none(tmp_path):
    """Its sum is right, but it shows nothing."""
    descriptors = unit(np.random.default_rng(0), 2, 4)
    write(tmp_path / "map", descriptors, rows_at(along(2)), [b"no JPEG", compress(texture(1))])
    opened = open_map(tmp_path / "map")
    assert opened.image(0) is None
    assert opened.image(1) is not None


@pytest.mark.parametrize("index", ["flat", "IVF4,PQ8", "HNSW4", "First4,IVF4,SQ8"])
@pytest.mark.parametrize("stored", ["none", "int8"])
def test_a_large_map_answers_as_a_small_one(tmp_path, monkeypatch, index, stored):
    """Its files are memory-mapped where they are large; here all are."""
    build(tmp_path / "map", count=300, pictures=False, index=index, stored=stored)
    small = open_map(tmp_path / "map")
    monkeypatch.setattr("vpr_ros.maps.manifest.SUMMED_AT_OPEN", 10)
    asked = unit(np.random.default_rng(9), 5, 8)
    for memory_mapped in (True, False):
        large = open_map(tmp_path / "map", memory_mapped=memory_mapped)
        assert isinstance(large.places, np.memmap) == memory_mapped
        for within in (None, np.arange(20, 90)):
            for expected, found in zip(
                small.search(asked, 7, within), large.search(asked, 7, within), strict=True
            ):
                assert np.array_equal(expected, found)
        assert np.array_equal(small.enu, large.enu)
        assert small.spacing == large.spacing
        places = np.array([3, 299, 3])
        assert np.array_equal(small.scores(asked[0], places), large.scores(asked[0], places))
        assert np.array_equal(small.descriptors(places), large.descriptors(places))


@pytest.mark.parametrize("centre", [np.zeros(7, np.float32), np.zeros(8), np.zeros((1, 8), np.float32)])
def test_a_centre_of_another_shape(folder, tmp_path, centre):
    np.save(tmp_path / "centre.npy", centre)
    replace_file(folder, "centre.npy", (tmp_path / "centre.npy").read_bytes())
    refusal(folder, folder / "centre.npy")


# --- refusals


def test_no_map_there(tmp_path):
    assert "not a map" in refusal(tmp_path / "missing", tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    assert "manifest.json" in refusal(tmp_path / "empty", tmp_path / "empty")
    (tmp_path / "file").write_text("x")
    refusal(tmp_path / "file", tmp_path / "file")


def test_another_encoder(folder):
    line = refusal(folder, folder, "0" * 64)
    assert "f" * 12 in line
    assert "0" * 12 in line
    assert len(open_map(folder)) == 12  # where nobody asks


@pytest.mark.parametrize("name", ["index.faiss", "places.npy", "names.bin", "names.npy", "centre.npy"])
@pytest.mark.parametrize("share", [0, 0.01, 0.2, 0.5, 0.8, 1])
def test_a_flipped_byte(folder, name, share):
    data = bytearray((folder / name).read_bytes())
    data[round(share * (len(data) - 1))] ^= 0x10
    (folder / name).write_bytes(data)
    assert "sha256" in refusal(folder, folder / name)


@pytest.mark.parametrize("name", ["index.faiss", "places.npy", "names.bin", "names.npy"])
@pytest.mark.parametrize("length", [0, 1, 50, -1])
def test_a_cut_file(folder, name, length):
    (folder / name).write_bytes((folder / name).read_bytes()[:length])
    assert "damaged" in refusal(folder, folder / name)


@pytest.mark.parametrize("name", ["index.faiss", "places.npy", "names.bin", "names.npy"])
def test_a_missing_file(folder, name):
    (folder / name).unlink()
    assert "missing" in refusal(folder, folder / name)


@pytest.mark.parametrize("changes", [{"places": 11}, {"dimension": 9}])
def test_a_manifest_that_counts_otherwise(folder, changes):
    change_manifest(folder, **changes)
    assert "build it again" in refusal(folder, folder)


class Trap:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.mark.parametrize("form", ["pickle", "object array"])
def test_places_that_are_a_pickle_are_not_executed(folder, tmp_path, form):
    sprung = tmp_path / "sprung"
    if form == "pickle":
        data = pickle.dumps(Trap(sprung))
    else:
        np.save(tmp_path / "trap.npy", np.array([Trap(sprung)], object), allow_pickle=True)
        data = (tmp_path / "trap.npy").read_bytes()
    replace_file(folder, "places.npy", data)
    refusal(folder, folder / "places.npy")
    assert not sprung.exists()
    pickle.loads(pickle.dumps(Trap(sprung)))  # noqa: S301  the trap does work
    assert sprung.exists()


NUMBERS = [(name, "f8") for name in ("latitude", "longitude", "altitude", "heading")]


@pytest.mark.parametrize(
    "other",
    [
        np.zeros(12, [("x", "f8")]),
        np.zeros(12),
        np.zeros(12, [*NUMBERS, ("stamp", "U8")]),
        np.zeros(12, [*NUMBERS, ("stamp", "i8", (2,))]),
        np.zeros((12, 1), [*NUMBERS, ("stamp", "i8")]),
        np.zeros(12, [("image", "U9"), *NUMBERS, ("stamp", "i8"), ("session", "U9")]),
    ],
    ids=lambda other: f"{len(other.dtype)} columns, {other.dtype.itemsize} bytes, {other.ndim}",
)
def test_places_of_other_columns(folder, tmp_path, other):
    np.save(tmp_path / "other.npy", other)
    replace_file(folder, "places.npy", (tmp_path / "other.npy").read_bytes())
    assert "columns" in refusal(folder, folder / "places.npy")


@pytest.mark.parametrize(
    "data", [b"", b"garbage" * 100, b"IxFI" + b"\xff" * 60], ids=["empty", "garbage", "torn"]
)
def test_an_index_that_is_none_though_its_sum_is_right(folder, data):
    replace_file(folder, "index.faiss", data)
    refusal(folder, folder)


def test_an_index_of_another_size_though_its_sum_is_right(folder, tmp_path):
    index = faiss.IndexFlatIP(8)
    index.add(unit(np.random.default_rng(0), 5, 8))
    faiss.write_index(index, str(tmp_path / "other.faiss"))
    replace_file(folder, "index.faiss", (tmp_path / "other.faiss").read_bytes())
    assert "5 descriptors" in refusal(folder, folder)


# --- format 1


def write_format_1(folder, descriptors, rows, pictures):
    """Write what versions up to 0.1 wrote: a flat index, a file for each picture, sums in the manifest."""
    (folder / "images").mkdir(parents=True)
    index = faiss.IndexFlatIP(descriptors.shape[1])
    index.add(descriptors)
    (folder / "index.faiss").write_bytes(faiss.serialize_index(index).tobytes())
    np.save(folder / "places.npy", rows, allow_pickle=False)
    for place, picture in enumerate(pictures):
        (folder / "images" / f"{place:06d}.jpg").write_bytes(picture)
    manifest = {
        "format": 1,
        "version": "0.1.0",
        "encoder": FINGERPRINT,
        "dimension": descriptors.shape[1],
        "metric": "inner_product",
        "places": len(rows),
        "datum": {"latitude": DATUM.latitude, "longitude": DATUM.longitude, "altitude": DATUM.altitude},
        "geotag_std": 2.5,
        "unrelated": {"mean": 0.01, "std": 0.2},
        "sha256": {
            file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted(folder.rglob("*.*"))
        },
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
    return folder


@pytest.fixture
def old(tmp_path):
    pictures = [compress(texture(number)) for number in range(9)]
    return write_format_1(
        tmp_path / "old", unit(np.random.default_rng(3), 9, 8), rows_at(along(9, 4.0)), pictures
    )


def test_a_map_of_format_1_answers_as_before(old, tmp_path):
    descriptors = unit(np.random.default_rng(3), 9, 8)
    opened = open_map(old, FINGERPRINT)
    assert (opened.manifest.format, opened.geotag_std, opened.datum) == (1, 2.5, DATUM)
    assert opened.spacing == pytest.approx(4.0, abs=1e-3)
    asked = unit(np.random.default_rng(4), 5, 8)
    similarities, places = opened.search(asked, 20)
    assert places.shape == (5, 9)
    assert np.array_equal(places, np.argsort(-(asked @ descriptors.T), axis=1, kind="stable"))
    assert np.allclose(similarities, -np.sort(-(asked @ descriptors.T), axis=1), atol=1e-6)
    assert np.array_equal(opened.descriptors(np.arange(9)), descriptors)
    expected = (asked[0] @ descriptors.T - asked[0] @ descriptors.mean(axis=0)) / 0.2
    assert np.allclose(opened.scores(asked[0], np.arange(9)), expected, atol=1e-5)
    assert np.abs(opened.image(4).astype(int) - texture(4)).mean() < 10
    assert opened.image(9) is None


@pytest.mark.parametrize("damage", ["flipped", "gone", "unsaid"])
def test_a_damaged_picture_of_format_1_is_none(old, damage):
    file = old / "images" / "000003.jpg"
    if damage == "flipped":
        file.write_bytes(file.read_bytes()[:-3] + b"abc")
    elif damage == "gone":
        file.unlink()
    else:
        sums = manifest_of(old)["sha256"]
        del sums["images/000003.jpg"]
        change_manifest(old, sha256=sums)
    opened = open_map(old, FINGERPRINT)
    assert opened.image(3) is None
    assert opened.image(4) is not None


@pytest.mark.parametrize("name", ["index.faiss", "places.npy"])
def test_a_damaged_map_of_format_1_is_refused(old, name):
    data = bytearray((old / name).read_bytes())
    data[-1] ^= 1
    (old / name).write_bytes(data)
    assert "sha256" in refusal(old, old / name)
