"""The map: what is written is what is found, and a damaged or foreign one is refused with a reason."""

import hashlib
import json
import pickle
import re
import shutil
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test.conftest import DATUM, texture
from vpr_ros.errors import InputError
from vpr_ros.geodesy import Datum, to_enu, to_geodetic
from vpr_ros.geotagged import make_rows
from vpr_ros.place_map import MapBuilder, check_replaceable, open_map

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


def build(folder, count=12, dimension=8, seed=0, pictures=False, datum=None, geotag_std=2.0, batch=5):
    """Write a map of places `step` metres apart; return their descriptors."""
    descriptors = unit(np.random.default_rng(seed), count, dimension)
    rows = rows_at(
        along(count), heading=np.arange(count) * 7.0 % 360, stamp=np.arange(count), session=["a"] * count
    )
    builder = MapBuilder(FINGERPRINT, dimension, geotag_std, datum)
    for start in range(0, count, batch):
        part = slice(start, min(start + batch, count))
        shots = [texture(number) for number in range(count)[part]] if pictures else []
        builder.add(descriptors[part], rows[part], shots)
    assert builder.count == count
    builder.write(folder)
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
    sums = manifest_of(folder)["sha256"] | {name: hashlib.sha256(data).hexdigest()}
    change_manifest(folder, sha256=sums)


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
    assert opened.places["image"].tolist() == [f"image {n}" for n in range(12)]
    assert opened.places["heading"].tolist() == [7.0 * n for n in range(12)]
    assert opened.places["stamp"].tolist() == list(range(12))
    assert opened.places["session"].tolist() == ["a"] * 12
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
    builder = MapBuilder(FINGERPRINT, 4, 2.0)
    rows = rows_at(along(5), altitude=[np.nan] * 5)
    builder.add(unit(np.random.default_rng(0), 5, 4), rows)
    builder.write(tmp_path / "map")
    opened = open_map(tmp_path / "map")
    assert opened.datum.altitude == 0
    assert np.isfinite(opened.enu).all()
    assert np.abs(opened.enu[:, 2]).max() < 0.01
    assert np.isnan(opened.places["altitude"]).all()  # unknown stays unknown


def test_spacing_is_the_median_distance_to_the_nearest(tmp_path):
    builder = MapBuilder(FINGERPRINT, 4, 2.0)
    builder.add(
        unit(np.random.default_rng(0), 5, 4), rows_at([[x, 0.0, 0.0] for x in (0.0, 2.0, 7.0, 100.0, 103.0)])
    )
    builder.write(tmp_path / "map")
    assert open_map(tmp_path / "map").spacing == pytest.approx(3.0, abs=1e-3)  # of 2 2 3 3 5
    build(tmp_path / "one", count=1)
    assert open_map(tmp_path / "one").spacing == 0


def test_unrelated_is_the_similarity_of_places_far_apart(tmp_path):
    """Two streets 1 km apart: alike within a street, of cosine 0.3 between them."""
    streets = np.array([[1.0, 0.0], [0.3, np.sqrt(1 - 0.09)]], np.float32)
    enu = np.concatenate([along(6, 1.0), along(6, 1.0) + np.array([1000.0, 0.0, 0.0])])
    builder = MapBuilder(FINGERPRINT, 2, 2.0)
    builder.add(np.repeat(streets, 6, axis=0), rows_at(enu))
    builder.write(tmp_path / "map")
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
    builder = MapBuilder(FINGERPRINT, 4, 2.0)
    builder.add(unit(np.random.default_rng(0), count, 4), rows_at(along(count, step)))
    builder.write(tmp_path / "map")
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
    assert not (folder / "images").exists()


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "other"])
def test_a_damaged_picture_is_none_and_the_others_are_there(tmp_path, damage):
    build(tmp_path / "map", pictures=True)
    file = tmp_path / "map" / "images" / "000003.jpg"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "flipped":
        file.write_bytes(data)
    elif damage == "cut":
        file.write_bytes(data[:100])
    elif damage == "gone":
        file.unlink()
    else:
        shutil.copy(file.with_name("000004.jpg"), file)
    opened = open_map(tmp_path / "map", FINGERPRINT)
    assert opened.image(3) is None
    assert opened.image(4) is not None


def test_the_manifest_says_what_the_contract_names(tmp_path):
    build(tmp_path / "map", pictures=True)
    manifest = manifest_of(tmp_path / "map")
    assert manifest["format"] == 1
    assert manifest["encoder"] == FINGERPRINT
    assert manifest["dimension"] == 8
    assert manifest["metric"] == "inner_product"
    assert manifest["places"] == 12
    assert set(manifest["datum"]) == {"latitude", "longitude", "altitude"}
    assert manifest["version"]
    files = {
        str(file.relative_to(tmp_path / "map")): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in (tmp_path / "map").rglob("*")
        if file.is_file() and file.name != "manifest.json"
    }
    assert len(files) == 14
    assert manifest["sha256"] == files


def test_the_same_places_give_the_same_files(tmp_path):
    build(tmp_path / "a", pictures=True, batch=5)
    build(tmp_path / "b", pictures=True, batch=12)
    assert manifest_of(tmp_path / "a") == manifest_of(tmp_path / "b")


def test_an_empty_map_is_not_written(tmp_path):
    with pytest.raises(InputError, match="no place"):
        MapBuilder(FINGERPRINT, 4, 2.0).write(tmp_path / "map")
    assert list(tmp_path.iterdir()) == []


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


@pytest.mark.parametrize("name", ["index.faiss", "places.npy"])
@pytest.mark.parametrize("share", [0, 0.01, 0.2, 0.5, 0.8, 1])
def test_a_flipped_byte(folder, name, share):
    data = bytearray((folder / name).read_bytes())
    data[round(share * (len(data) - 1))] ^= 0x10
    (folder / name).write_bytes(data)
    assert "sha256" in refusal(folder, folder / name)


@pytest.mark.parametrize("name", ["index.faiss", "places.npy"])
@pytest.mark.parametrize("length", [0, 1, 50, -1])
def test_a_cut_file(folder, name, length):
    (folder / name).write_bytes((folder / name).read_bytes()[:length])
    assert "damaged" in refusal(folder, folder / name)


@pytest.mark.parametrize("name", ["index.faiss", "places.npy"])
def test_a_missing_file(folder, name):
    (folder / name).unlink()
    assert "missing" in refusal(folder, folder / name)


def test_a_newer_format(folder):
    change_manifest(folder, format=2, version="9.9.9")
    assert "install vpr_ros 9.9.9" in refusal(folder, folder)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", "null", '"text"', "\0\0\0\0", '{"format": 1}', '{"format": "new"}']
)
def test_a_manifest_that_is_none(folder, text):
    (folder / "manifest.json").write_text(text)
    refusal(folder, folder / "manifest.json")


def test_a_manifest_of_other_bytes(folder):
    (folder / "manifest.json").write_bytes(b"\xff\xfe\x80")
    refusal(folder, folder / "manifest.json")


KEYS = ("format", "encoder", "dimension", "places", "datum", "geotag_std", "unrelated", "sha256")


@pytest.mark.parametrize("key", KEYS)
def test_a_manifest_without_a_key(folder, key):
    manifest = manifest_of(folder)
    del manifest[key]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert key in refusal(folder, folder / "manifest.json")


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", [None, "text", [1, 2], {"a": 1}], ids=["null", "text", "list", "object"])
def test_a_manifest_whose_value_is_of_another_kind(folder, key, value):
    value = 7 if key == "encoder" and value == "text" else value
    change_manifest(folder, **{key: value})
    refusal(folder, folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"datum": {"latitude": "x", "longitude": 5.0, "altitude": 0.0}},
        {"datum": {"latitude": None, "longitude": 5.0, "altitude": 0.0}},
        {"datum": {"latitude": float("nan"), "longitude": 5.0, "altitude": 0.0}},
        {"datum": {"latitude": 91.0, "longitude": 5.0, "altitude": 0.0}},
        {"unrelated": {"mean": "x", "std": 0.1}},
        {"unrelated": {"mean": 0.0, "std": None}},
        {"unrelated": {"mean": 0.0, "std": 0.0}},
        {"unrelated": {"mean": float("nan"), "std": 0.1}},
        {"geotag_std": -1.0},
        {"geotag_std": float("nan")},
    ],
    ids=lambda changes: "-".join(f"{key}-{value}" for key, value in changes.items()),
)
def test_a_manifest_with_values_that_cannot_be(folder, changes):
    """They would not stop the node at the start but in the middle of a drive, or send it astray."""
    change_manifest(folder, **changes)
    refusal(folder, folder)


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


def test_places_of_other_columns(folder, tmp_path):
    np.save(tmp_path / "other.npy", np.zeros(12, [("x", "f8")]))
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


# --- replacing


def test_what_is_not_a_map_is_never_replaced(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="not a map") as caught:
        build(home)
    assert str(home) in str(caught.value)
    assert [file.name for file in home.iterdir()] == ["thesis.tex"]
    (tmp_path / "file").write_text("work")
    with pytest.raises(InputError, match="not a map"):
        check_replaceable(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    build(tmp_path / "empty")
    build(tmp_path / "empty", count=3)
    assert len(open_map(tmp_path / "empty")) == 3
    assert sorted(file.name for file in tmp_path.iterdir()) == ["empty", "file", "home"]


def test_an_interrupted_replacement_opens_the_previous_map(folder, caplog):
    """The process died between the two renames."""
    folder.rename(folder.with_name(".map.previous"))
    shutil.copytree(folder.with_name(".map.previous"), folder.with_name(".map.partial"))
    opened = open_map(folder, FINGERPRINT)
    assert len(opened) == 12
    assert opened.folder == folder.with_name(".map.previous")
    assert "cut short" in caplog.text
    assert str(folder) in caplog.text
    build(folder, count=3)
    caplog.clear()
    assert len(open_map(folder, FINGERPRINT)) == 3
    assert not caplog.text
    assert [file.name for file in folder.parent.iterdir()] == ["map"]


def test_a_failure_while_writing_leaves_the_old_map(folder, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "places.npy")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="No space"):
        build(folder, count=3)
    assert len(open_map(folder, FINGERPRINT)) == 12
    assert [file.name for file in folder.parent.iterdir()] == ["map"]


def test_the_folder_one_stands_in_is_refused_or_becomes_a_map(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    try:
        build(Path())
    except InputError:
        return
    assert len(open_map(tmp_path / "here")) == 12
