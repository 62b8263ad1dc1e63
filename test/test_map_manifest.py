"""The manifest: what it says is kept, and one that cannot be is refused with a reason."""

import hashlib
import json
import os
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test.small_maps import in_a_row, rows_at, some_map
from vpr_ros.errors import InputError
from vpr_ros.files.checksum import sum_of
from vpr_ros.geodesy import Datum
from vpr_ros.maps import manifest as map_manifest
from vpr_ros.maps.manifest import (
    FileSum,
    Manifest,
    Spread,
    check_files,
    damaged,
    read_manifest,
    write_manifest,
)

SUM = "0123456789abcdef" * 4
NEEDED = {name: FileSum(10, SUM) for name in ("index.faiss", "places.npy", "names.bin", "names.npy")}
OPTIONAL = ["centre.npy", "descriptors.npy", "pictures.bin", "pictures.npy"]
MANIFEST = Manifest(
    encoder="f" * 64,
    dimension=8,
    places=12,
    datum=Datum(52.0, 5.0, 10.0),
    geotag_std=2.0,
    unrelated=Spread(0.1, 0.05),
    spacing=1.5,
    index="IVF4,PQ4",
    effort=3,
    rerank=7,
    files=NEEDED | {name: FileSum(5, SUM) for name in OPTIONAL},
    version="1.2.3",
)


@pytest.fixture
def folder(tmp_path):
    write_manifest(tmp_path, MANIFEST)
    return tmp_path


def written(folder):
    return json.loads((folder / "manifest.json").read_text())


def change(folder, **changes):
    (folder / "manifest.json").write_text(json.dumps(written(folder) | changes))


def refusal(folder):
    """Return the one line that a manifest is refused with; it names the file and ends in a cure."""
    with pytest.raises(InputError) as caught:
        read_manifest(folder)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(str(folder))
    assert re.search("build|install|expected", line)
    return line


positive = st.floats(1e-3, 1e6)


@settings(max_examples=50, deadline=None)
@given(
    manifest=st.builds(
        Manifest,
        encoder=st.text(),
        dimension=st.integers(1, 5000),
        places=st.integers(1, 10**9),
        datum=st.builds(Datum, st.floats(-90, 90), st.floats(-180, 180), st.floats(-500, 9000)),
        geotag_std=positive,
        unrelated=st.builds(Spread, st.floats(-1, 1), positive),
        spacing=st.floats(0, 1e6),
        index=st.text(),
        effort=st.integers(0, 10**6),
        rerank=st.integers(0, 10**6),
        files=st.just(MANIFEST.files),
        version=st.text(),
    )
)
def test_what_is_written_is_read(tmp_path_factory, manifest):
    folder = tmp_path_factory.mktemp("map")
    write_manifest(folder, manifest)
    assert read_manifest(folder) == manifest


def test_it_says_what_the_contract_names(folder):
    assert written(folder) == {
        "format": 2,
        "version": "1.2.3",
        "encoder": "f" * 64,
        "dimension": 8,
        "metric": "inner_product",
        "places": 12,
        "datum": {"latitude": 52.0, "longitude": 5.0, "altitude": 10.0},
        "geotag_std": 2.0,
        "unrelated": {"mean": 0.1, "std": 0.05},
        "spacing": 1.5,
        "index": "IVF4,PQ4",
        "effort": 3,
        "rerank": 7,
        "files": {
            name: {"bytes": file.bytes, "sha256": file.sha256} for name, file in MANIFEST.files.items()
        },
    }


def test_a_newer_format(folder):
    change(folder, format=3, version="9.9.9")
    assert "install vpr_ros 9.9.9" in refusal(folder)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "7", "null", '"text"', "\0\0\0\0", '{"format": 1}', '{"format": 2}'),
        *('{"format": "new"}', "[" * 10**5, '{"format": 0}', '{"format": -1}', '{"format": true}'),
    ],
    ids=lambda text: text[:20],
)
def test_a_manifest_that_is_none(folder, text):
    (folder / "manifest.json").write_text(text)
    assert str(folder / "manifest.json") in refusal(folder)


def test_a_manifest_of_other_bytes(folder):
    (folder / "manifest.json").write_bytes(b"\xff\xfe\x80")
    refusal(folder)


def test_no_manifest(tmp_path):
    assert "not a map" in refusal(tmp_path)


KEYS = ["format", "encoder", "dimension", "metric", "places", "datum", "geotag_std", "unrelated", "spacing"]
KEYS += ["index", "effort", "rerank", "files"]
TEXTS = {"encoder", "index", "metric"}


@pytest.mark.parametrize("key", KEYS)
def test_a_manifest_without_a_key(folder, key):
    manifest = written(folder)
    del manifest[key]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert key in refusal(folder)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "value", [None, "text", [1, 2], {"a": 1}, True], ids=["null", "text", "list", "object", "true"]
)
def test_a_manifest_whose_value_is_of_another_kind(folder, key, value):
    change(folder, **{key: 7 if key in TEXTS and value == "text" else value})
    refusal(folder)


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
        {"geotag_std": 10**400},
        {"spacing": -1.0},
        {"spacing": float("inf")},
        {"places": 0},
        {"dimension": -8},
        {"effort": -1},
        {"effort": 1 << 40},
        {"rerank": -1},
        {"metric": "l2"},
    ],
    ids=lambda changes: "-".join(f"{key}-{value}" for key, value in changes.items())[:60],
)
def test_a_manifest_with_values_that_cannot_be(folder, changes):
    """They would not stop the node at the start but in the middle of a drive, or send it astray."""
    change(folder, **changes)
    refusal(folder)


@pytest.mark.parametrize(
    "name",
    [
        *("../index.faiss", "/etc/passwd", "images/../../x", "images/000001.jpg", "index.faiss\0", ""),
        *("./index.faiss", "INDEX.FAISS", "index.faiss ", "other.npy"),
    ],
)
def test_a_file_that_is_none_of_a_map(folder, name):
    change(folder, files=written(folder)["files"] | {name: {"bytes": 1, "sha256": SUM}})
    assert "no file of a map" in refusal(folder)


@pytest.mark.parametrize(
    "name", ["images/../../../etc/passwd", "images/1.jpg", "images/000001.png", "../index.faiss"]
)
def test_a_file_that_is_none_of_a_map_of_format_1(folder, name):
    sums = {"index.faiss": SUM, "places.npy": SUM, "images/000001.jpg": SUM}
    change(folder, format=1, sha256=sums)
    assert set(read_manifest(folder).files) == set(sums)
    change(folder, format=1, sha256=sums | {name: SUM})
    assert "no file of a map" in refusal(folder)


@pytest.mark.parametrize(
    "file",
    [
        *(None, 7, SUM, {}, {"bytes": 1}, {"sha256": SUM}, {"bytes": -1, "sha256": SUM}),
        *({"bytes": 1.5, "sha256": SUM}, {"bytes": 1, "sha256": SUM[1:]}, {"bytes": 1, "sha256": None}),
        *({"bytes": None, "sha256": SUM}, {"bytes": 1, "sha256": SUM.upper()}),
    ],
    ids=str,
)
def test_a_file_without_size_or_sum(folder, file):
    change(folder, files=written(folder)["files"] | {"index.faiss": file})
    refusal(folder)


@pytest.mark.parametrize("name", sorted({*NEEDED, *OPTIONAL} - {"centre.npy"}))
def test_a_file_that_others_need(folder, name):
    files = written(folder)["files"]
    del files[name]
    change(folder, files=files)
    assert name in refusal(folder)


# --- the files themselves


@pytest.fixture
def whole(tmp_path):
    some_map(tmp_path / "map", rows_at(in_a_row(12)), pictures=True, index="IVF2,SQ8", stored="float16")
    return tmp_path / "map"


def test_sum_of_is_sha256(tmp_path):
    data = os.urandom(3 << 20)
    (tmp_path / "file").write_bytes(data)
    assert sum_of(tmp_path / "file") == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("name", sorted({*NEEDED, *OPTIONAL}))
@pytest.mark.parametrize("damage", ["flipped", "cut", "longer", "gone", "folder"])
def test_every_file_is_checked(whole, name, damage):
    manifest = read_manifest(whole)
    assert set(manifest.files) == {*NEEDED, *OPTIONAL}
    assert damaged(whole, manifest) == []
    file = whole / name
    data = file.read_bytes()
    file.unlink()
    if damage == "flipped":
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage in ("cut", "longer"):
        file.write_bytes(data[:-1] if damage == "cut" else data + b"\0")
    elif damage == "folder":
        file.mkdir()
    (line,) = damaged(whole, manifest)
    assert line.startswith(f"{name}: ")
    with pytest.raises(InputError, match="copy the map again") as caught:
        check_files(whole, manifest)
    assert str(caught.value).startswith(f"{file}: ")


def test_large_files_are_summed_where_all_is(whole, monkeypatch):
    monkeypatch.setattr(map_manifest, "SUMMED_AT_OPEN", 100)
    manifest = read_manifest(whole)
    file = whole / "descriptors.npy"
    assert file.stat().st_size > 100
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    check_files(whole, manifest)
    (line,) = damaged(whole, manifest)
    assert "sha256" in line
    file.write_bytes(data[:-1])
    with pytest.raises(InputError, match="bytes"):  # its size is looked at all the same
        check_files(whole, manifest)


def test_pictures_of_format_1_are_checked_when_all_is(tmp_path):
    (tmp_path / "images").mkdir()
    names = {}
    for name in ("index.faiss", "places.npy", "images/000000.jpg"):
        (tmp_path / name).write_bytes(np.random.default_rng(0).bytes(100))
        names[name] = FileSum(None, sum_of(tmp_path / name))
    manifest = replace(MANIFEST, files=names, format=1, rerank=0)
    assert damaged(tmp_path, manifest) == []
    (tmp_path / "images" / "000000.jpg").write_bytes(b"other")
    check_files(tmp_path, manifest)
    assert damaged(tmp_path, manifest) == ["images/000000.jpg: damaged (sha256 differs from manifest.json)"]
