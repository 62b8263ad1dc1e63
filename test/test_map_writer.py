"""A map is written whole or not at all, streamed, as asked for, and the same however it comes."""

import json
import logging
import shutil
import weakref
from pathlib import Path

import faiss
import numpy as np
import pytest

from test.small_maps import FINGERPRINT, in_a_row, rows_at, some_map, unit
from vpr_ros.errors import InputError
from vpr_ros.maps import writer as map_writer
from vpr_ros.maps.index import inner
from vpr_ros.maps.index_file import read_trained
from vpr_ros.maps.manifest import read_manifest
from vpr_ros.maps.statistics import evenly
from vpr_ros.maps.writer import Block, InMemory, check_replaceable, write_map
from vpr_ros.place_map import open_map

DIMENSION, COUNT = 32, 600


def source_of(count=COUNT, dimension=DIMENSION, batch=100, seed=0):
    descriptors = unit(np.random.default_rng(seed), count, dimension)
    rows = rows_at(in_a_row(count))
    source = InMemory(dimension)
    for start in range(0, count, batch):
        part = slice(start, start + batch)
        pictures = [bytes([number % 256]) * 9 for number in range(count)[part]]
        source.add(descriptors[part], rows[part], pictures)
    return source


def write(folder, source=None, **options):
    write_map(folder, source or source_of(), FINGERPRINT, 2.0, progress=False, **options)
    return folder


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "map", source_of(12))


# --- what is asked for


@pytest.mark.parametrize(
    ("index", "stored", "rerank", "expected"),
    [
        ("auto", "auto", None, ("Flat", 0, 0, None)),
        ("flat", "float16", None, ("Flat", 0, 0, "float16")),
        ("ivf", "auto", None, ("IVF15,Flat", 15, 0, None)),
        ("hnsw", "auto", None, ("HNSW32", 128, 0, None)),
        ("ivfpq", "auto", None, ("IVF15,PQ32", 15, 100, "int8")),
        ("ivfpq", "none", None, ("IVF15,PQ32", 15, 0, None)),
        ("ivfpq", "float16", 7, ("IVF15,PQ32", 15, 7, "float16")),
        ("First16,IVF9,SQ8", "int8", 0, ("First16,IVF9,SQ8", 9, 0, "int8")),
    ],
)
def test_a_map_is_as_it_was_asked_for(tmp_path, index, stored, rerank, expected):
    opened = open_map(write(tmp_path / "map", index=index, stored=stored, rerank=rerank))
    manifest = opened.manifest
    kind = opened.stored.kind if opened.stored is not None else None
    assert (manifest.index, manifest.effort, manifest.rerank, kind) == expected
    assert len(opened) == opened.index.ntotal == COUNT
    behind = inner(opened.index)
    if isinstance(behind, faiss.IndexIVF):
        assert behind.nprobe == manifest.effort
    if isinstance(behind, faiss.IndexHNSW):
        assert behind.hnsw.efSearch == manifest.effort
    descriptors = np.concatenate([block.descriptors for block in source_of().blocks()])
    _, places = opened.search(descriptors[::20], 1)
    assert places[:, 0].tolist() == list(range(0, COUNT, 20))
    kept = np.concatenate([block for _, block in opened.blocks(70)])
    assert kept.shape == descriptors.shape
    assert (np.einsum("np,np->n", kept, descriptors) > 0.6).all()
    assert np.allclose(np.linalg.norm(kept, axis=1), 1, atol=1e-3)
    assert [opened.pictures.read(place) for place in (0, 7)] == [b"\0" * 9, b"\7" * 9]


def test_a_large_map_is_small_unless_it_is_not_whitened(tmp_path, monkeypatch):
    """The limits are those of a city; here they are those of a few places."""
    monkeypatch.setattr("vpr_ros.maps.index.EXACT_BYTES", 1000)
    monkeypatch.setattr("vpr_ros.maps.index.REDUCED", 16)
    monkeypatch.setattr(map_writer, "REDUCED", 16)
    assert read_manifest(write(tmp_path / "a")).index == "PCAR16,L2norm,IVF15,PQ16"
    source = InMemory(DIMENSION)
    falling = unit(np.random.default_rng(0), COUNT, DIMENSION) * np.linspace(
        1, 0.2, DIMENSION, dtype=np.float32
    )
    source.add(falling / np.linalg.norm(falling, axis=1, keepdims=True), rows_at(in_a_row(COUNT)))
    assert read_manifest(write(tmp_path / "b", source)).index == "First16,IVF15,PQ16"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"index": "nonsense"}, "index 'nonsense'"),
        ({"stored": "float64"}, "stored 'float64'.*float16 or int8"),
        ({"index": "SQ8", "stored": "none", "rerank": 5}, "rerank 5.*choose --stored"),
        ({"index": "SQ8", "rerank": -1}, "rerank -1"),
        ({"index": "IVF400,PQ8"}, None),
        ({"index": "IVF700,PQ8"}, "600 places do not train.*--index flat"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(tmp_path, options, words):
    if words is None:
        write(tmp_path / "map", **options)
        return
    with pytest.raises(InputError, match=words) as caught:
        write(tmp_path / "map", **options)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_map_is_not_written(tmp_path):
    with pytest.raises(InputError, match="no place"):
        write(tmp_path / "map", InMemory(4))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("index", ["flat", "First16,IVF9,PQ8"])
def test_the_same_places_give_the_same_files(tmp_path, index):
    manifests = [
        read_manifest(write(tmp_path / str(batch), source_of(batch=batch), index=index, stored="int8"))
        for batch in (100, 600)
    ]
    assert manifests[0] == manifests[1]
    assert set(manifests[0].files) == {
        *(
            "index.faiss",
            "places.npy",
            "names.bin",
            "names.npy",
            "centre.npy",
            "descriptors.npy",
            "pictures.bin",
            "pictures.npy",
        )
    }


def test_strings_are_as_wide_as_the_widest_of_all_blocks(tmp_path):
    source, descriptors = InMemory(4), unit(np.random.default_rng(0), 2, 4)
    for name in ("a", "a longer name"):
        source.add(descriptors[:1], rows_at(in_a_row(1), session=name))
    assert open_map(write(tmp_path / "map", source)).rows()["session"].tolist() == ["a", "a longer name"]


def test_what_is_trained_already_is_filled(tmp_path):
    first = write(tmp_path / "first", index="First16,IVF9,PQ8")
    trained = read_trained(first / "index.faiss")
    centroids = inner(trained).quantizer.reconstruct_n(0, 9)
    few = source_of(5)  # too few to train anything
    opened = open_map(write(tmp_path / "second", few, index="First16,IVF9,PQ8", trained=trained))
    assert len(opened) == 5
    assert np.array_equal(inner(opened.index).quantizer.reconstruct_n(0, 9), centroids)
    assert opened.search(next(few.blocks()).descriptors, 1)[1][:, 0].tolist() == list(range(5))


# --- streaming


class Stream:
    """A source that knows how many of its blocks are still there."""

    def __init__(self, count, says=None):
        self._source = source_of(count)
        self.count = says or count
        self.dimension = DIMENSION
        self.sampled = []
        self.most = 0

    def sample(self, most):
        self.sampled.append(most)
        return self._source.sample(most)

    def blocks(self):
        there = []
        for block in self._source.blocks():
            descriptors = block.descriptors.copy()
            there.append(weakref.ref(descriptors))
            yield Block(descriptors, block.rows)
            del descriptors
            self.most = max(self.most, sum(each() is not None for each in there))


@pytest.mark.parametrize("index", ["flat", "First16,IVF9,PQ8"])
def test_places_are_streamed(tmp_path, index, caplog):
    caplog.set_level(logging.INFO)
    source = Stream(2000)
    write(tmp_path / "map", source, index=index, stored="float16")
    assert source.most <= 1
    assert len(open_map(tmp_path / "map")) == 2000
    assert len(source.sampled) == (0 if index == "flat" else 1)
    assert ("training the index on 2000 descriptors" in caplog.text) == (index != "flat")


@pytest.mark.parametrize("says", [1900, 2100])
def test_a_source_that_counts_otherwise(tmp_path, says):
    with pytest.raises(ValueError, match=f"{says} places yielded 2000"):
        write(tmp_path / "map", Stream(2000, says))
    assert list(tmp_path.iterdir()) == []


def test_an_index_that_does_not_fit_into_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(map_writer, "_free_memory", lambda: 10_000)
    with pytest.raises(InputError, match="GB are free: choose --index") as caught:
        write(tmp_path / "map", index="hnsw")
    assert "HNSW32 of 600 places" in str(caught.value)
    write(tmp_path / "map", index="flat")  # needs none


def test_free_memory_is_that_of_this_machine():
    assert 1e7 < map_writer._free_memory() < 1e14


def test_evenly_is_the_whole_range():
    assert evenly(5).tolist() == [0, 1, 2, 3, 4]
    assert evenly(1).tolist() == [0]
    chosen = evenly(1_000_000, 1000)
    assert len(chosen) == 1000
    assert (chosen[0], chosen[-1]) == (0, 999_999)
    assert np.ptp(np.diff(chosen)) <= 1


# --- replacing


def test_what_is_not_a_map_is_never_replaced(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="not a map") as caught:
        write(home)
    assert str(home) in str(caught.value)
    assert [file.name for file in home.iterdir()] == ["thesis.tex"]
    (tmp_path / "file").write_text("work")
    with pytest.raises(InputError, match="not a map"):
        check_replaceable(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty")
    write(tmp_path / "empty", source_of(3))
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
    write(folder, source_of(3))
    caplog.clear()
    assert len(open_map(folder, FINGERPRINT)) == 3
    assert not caplog.text
    assert [file.name for file in folder.parent.iterdir()] == ["map"]


def full(*_, **__):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("where", ["FlatIndexWriter", "DescriptorWriter", "PictureWriter", "PlaceWriter"])
def test_a_failure_while_writing_leaves_the_old_map(folder, monkeypatch, where):
    monkeypatch.setattr(map_writer, where, full)
    with pytest.raises(OSError, match="No space"):
        write(folder, source_of(3), stored="int8")
    assert len(open_map(folder, FINGERPRINT)) == 12
    assert [file.name for file in folder.parent.iterdir()] == ["map"]


def test_the_old_map_stays_open_while_it_is_replaced(folder):
    opened = open_map(folder)
    before = opened.search(unit(np.random.default_rng(1), 4, DIMENSION), 3)
    write(folder, source_of(400, seed=5))
    after = opened.search(unit(np.random.default_rng(1), 4, DIMENSION), 3)
    assert all(np.array_equal(*each) for each in zip(before, after, strict=True))
    assert len(open_map(folder)) == 400


def test_the_folder_one_stands_in_is_refused_or_becomes_a_map(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    try:
        write(Path())
    except InputError:
        return
    assert len(open_map(tmp_path / "here")) == COUNT


def test_the_manifest_says_which_files_there_are(folder):
    written = json.loads((folder / "manifest.json").read_text())
    assert written["format"] == 2
    there = {file.name: file.stat().st_size for file in folder.iterdir() if file.name != "manifest.json"}
    assert {name: file["bytes"] for name, file in written["files"].items()} == there


def test_some_map_is_one(tmp_path):
    """What tests of maps stand on."""
    descriptors = some_map(tmp_path / "map", rows_at(in_a_row(4)))
    assert np.array_equal(open_map(tmp_path / "map").descriptors(np.arange(4)), descriptors)
