"""The bench of maps: descriptors of photographs and crops, and what is measured of indices over them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from test import small_training
from training import distractors as making
from training.bench_map import Case, _cases, bench_map, judge
from training.distractors import distractors, fit_whitening
from training.measuring import described, descriptor_folder
from training.measuring.described import Described
from training.measuring.descriptor_folder import CROPS, PHOTOGRAPHS
from training.measuring.map_table import bytes_of, growth, points, table
from vpr_ros.errors import InputError
from vpr_ros.geotagged import ground_distance
from vpr_ros.netvlad import Whitening

PLACES, DIMENSION = 12, 24


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Descriptors of a drive past places, and of crops: two files of them."""
    folder = tmp_path_factory.mktemp("made")
    drives = small_training.write_drives(folder / "drives", PLACES, alike=0.9)
    options = {"data": [drives], "queries": ["b"], "count": 300, "held_out": 40, "trunk": "alexnet"}
    options |= {"out": folder / "out", "input_size": 64, "dimension": DIMENSION, "device": "cpu"}
    with pytest.MonkeyPatch.context() as patch:
        small_training.make_narrow(patch)
        patch.setattr(making, "SHARD", 256)
        patch.setattr(described, "SHARD", 256)
        patch.setattr(descriptor_folder, "SHARD", 256)
        patch.setattr(described, "BLOCK", 100)
        patch.setattr(making, "WHITENING_IMAGES", 80)
        options["trunk_weights"] = small_training.write_trunk(folder / "trunk.safetensors")
        distractors(**options)
        yield options


@pytest.fixture(scope="module")
def source(made):
    return Described(made["out"], 300, DIMENSION)


def test_photographs_come_first_and_crops_stand_where_they_were_cut(made, source):
    """Each crop within a metre and a half of a photograph of the map; the queries near one, too."""
    assert (source.rows["session"] == "a").all()
    assert [row["image"] for row in source.rows[:PLACES]] == [f"a{place:03d}.png" for place in range(PLACES)]
    by_image = {row["image"]: row for row in source.rows[:PLACES]}
    photographs = np.array([by_image[row["image"]] for row in source.rows], source.rows.dtype)
    apart = ground_distance(source.rows, photographs)
    assert (apart[:PLACES] == 0).all()
    assert 0.5 < apart[PLACES:].max() < 1.5
    rows, descriptors = source.queries(PHOTOGRAPHS)
    assert len(rows) == len(descriptors) == PLACES
    assert (rows["session"] == "b").all()
    rows, descriptors = source.queries(CROPS)
    assert len(rows) == len(descriptors) == 40


def test_crops_look_like_their_photograph(source):
    """More than by chance, a twelfth, are nearest to a place of the same one, without any training."""
    rows, descriptors = source.queries(CROPS)
    nearest = source.nearest(descriptors, 1, torch.device("cpu"))[:, 0]
    assert (source.rows["image"][nearest] == rows["image"]).mean() > 0.2
    assert len(np.unique(descriptors, axis=0)) == len(descriptors)


def test_places_are_read_over_the_ends_of_files(source):
    """At any dimension, brought to unit length."""
    stored = np.concatenate([np.load(making.shard(source.folder, start)) for start in (0, 256)])
    assert stored.shape == (300, DIMENSION)
    short = Described(source.folder, 290, 10)
    expected = stored[:290, :10].astype(np.float32)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    blocks = list(short.blocks())
    assert [len(block.rows) for block in blocks] == [100, 100, 56, 34]
    assert np.allclose(np.concatenate([block.descriptors for block in blocks]), expected, atol=1e-6)
    assert np.allclose(short.sample(290), expected, atol=1e-6)
    assert len(short.sample(7)) == 7
    _, queries = short.queries(CROPS)
    by_product = np.argsort(-(queries @ expected.T), axis=1)[:, :5]
    assert (short.nearest(queries, 5, torch.device("cpu")) == by_product).all()


def test_what_is_asked_for_must_be_there(made, source, tmp_path):
    for count, dimension in ((301, 8), (300, DIMENSION + 1)):
        with pytest.raises(InputError, match=f"expected {count} places of {dimension} dimensions or more"):
            Described(source.folder, count, dimension)
    with pytest.raises(InputError, match=r"make it with training/distractors\.py"):
        Described(tmp_path, 1, 1)
    with pytest.raises(InputError, match="made otherwise: name another folder"):
        distractors(**made | {"count": 299})
    with pytest.raises(InputError, match="expected at least the 12 photographs"):
        distractors(**made | {"count": 3, "out": tmp_path / "few"})


def test_a_run_that_was_cut_short_goes_on(made, source, monkeypatch):
    """What is there is not made again, and what is missing is what it was."""
    file = making.shard(source.folder, 256)
    before = np.load(file)
    file.unlink()
    made_again = []
    original = making.save
    monkeypatch.setattr(
        making, "save", lambda path, array: (made_again.append(path.name), original(path, array))
    )
    distractors(**made)
    assert np.allclose(np.load(file), before, atol=2e-3)
    assert [name for name in made_again if name.startswith("descriptors")] == [file.name]


def test_whitening_is_that_of_the_product():
    rng = np.random.default_rng(0)
    descriptors = (rng.standard_normal((50, 80)) * np.linspace(3, 0.1, 80)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    for shrinkage in (0.1, 1.0):
        ours, theirs = Whitening(80, 20), Whitening(80, 20)
        fit_whitening(ours, torch.from_numpy(descriptors), shrinkage)
        theirs.fit(descriptors, shrinkage)
        with torch.no_grad():
            one, other = ours(torch.from_numpy(descriptors)), theirs(torch.from_numpy(descriptors))
        # the sign of an axis is arbitrary
        assert torch.allclose(one @ one.T, other @ other.T, atol=1e-4)
        assert torch.allclose(one.abs(), other.abs(), atol=1e-3)


def test_judging_tells_the_same_place_from_a_near_one(source):
    """An answer one place further down, and one that is always wrong."""
    exact = {
        kind: source.nearest(source.queries(kind)[1], 5, torch.device("cpu")) for kind in (PHOTOGRAPHS, CROPS)
    }

    def of(change):
        return judge(
            source, exact, lambda queries, k: (None, change(source.nearest(queries, k, torch.device("cpu"))))
        )

    same = of(lambda found: found)
    assert same[CROPS]["same@1"] == same[CROPS]["same@5"] == 100
    assert same[CROPS]["lost@1"] == 0
    assert 20 < same[CROPS]["place@1"] <= same[CROPS]["place@5"] <= 100
    turned = of(lambda found: np.roll(found, 1, axis=1))
    assert (turned[CROPS]["same@1"], turned[CROPS]["same@5"]) == (0, 100)
    assert turned[CROPS]["place@5"] == same[CROPS]["place@5"]
    rows, _ = source.queries(PHOTOGRAPHS)
    far = np.array([int(ground_distance(source.rows, row).argmax()) for row in rows])
    wrong = of(lambda found: np.broadcast_to(far[:, None], found.shape) if len(found) == len(far) else found)
    assert wrong[PHOTOGRAPHS]["place@5"] == 0
    assert wrong[PHOTOGRAPHS]["lost@1"] == same[PHOTOGRAPHS]["place@1"]


def test_indices_are_measured_once(made, source, tmp_path, capsys, monkeypatch):
    """Bytes are those of the files, the exact one loses nothing, and what is in the file is not repeated."""
    monkeypatch.chdir(source.folder.parent)  # as the documentation names it: from where it lies
    named = Path(source.folder.name)
    options = {"descriptors": named, "json": tmp_path / "map.json", "counts": [300], "device": "cpu"}
    options |= {"dimensions": [16], "picture": tmp_path / "loss.png"}
    bench_map(**options, indices=["flat", "PQ4"], minutes=0)
    assert "0 minutes are over: flat 300 x 16" in capsys.readouterr().out
    bench_map(**options, indices=["flat", "resident"])  # without a GPU
    bench_map(**options, indices=["flat", "PQ4"])
    assert capsys.readouterr().out.count(": flat 300 x 16 is measured") == 1
    flat, product = json.loads((tmp_path / "map.json").read_text())
    assert [flat["factory"], product["factory"]] == ["Flat", "PQ4"]
    assert 64 < flat["bytes"]["index.faiss"] < 65
    (exact,) = flat["ways"]
    for kind in (PHOTOGRAPHS, CROPS):
        assert exact[kind]["same@1"] == 100
        assert exact[kind]["lost@1"] == 0
    alone, by_bytes, by_halves, by_few = product["ways"]
    assert [way["stored"] for way in product["ways"]] == ["none", "int8", "float16", "int8"]
    assert bytes_of(product, by_bytes) == bytes_of(product, alone) + 20
    assert bytes_of(product, by_halves) == bytes_of(product, alone) + 32
    assert alone[CROPS]["same@1"] < by_few[CROPS]["same@1"] <= by_halves[CROPS]["same@1"]
    for measured in (flat, product):
        assert measured["train_s"] >= 0 < measured["write_s"]
        assert 0 < measured["one core"]["open_s"] < measured["one core"]["cold_start_s"]
        for way in measured["ways"]:
            assert 0 < way["one core"]["p50"] <= way["one core"]["p99"]
            assert way["one core"]["queries"] == PLACES + 40
    assert (tmp_path / "loss.png").stat().st_size > 1000
    drawn = points([flat, product, product | {"case": product["case"] | {"places": 200}}])
    assert [point["stored"] for point in drawn] == ["none", "none", "int8", "float16"]
    assert (drawn[0]["place"], drawn[0]["same"]) == (0, 0)
    assert len(growth([flat, product]).splitlines()) == 2  # none of them is what is written by default
    assert len(growth([flat | {"case": flat["case"] | {"index": "auto"}}]).splitlines()) == 3
    assert len(table([flat, product]).splitlines()) == 2 + 1 + 4


def test_the_plan_begins_with_the_largest_maps_and_measures_nothing_twice():
    cases = _cases(None, [512, 128], None)
    assert cases[0] == Case(1_000_000, 512, "auto")
    assert len({(case.places, case.dimension, case.index) for case in cases}) == len(cases)
    assert {case.places for case in cases} == {1_000, 10_000, 100_000, 1_000_000}
    assert Case(100_000, 128, "auto").factory == "Flat"
    assert Case(100_000, 128, "flat") not in cases  # auto is that
    assert "PQ128" in Case(1_000_000, 512, "ivfpq128").factory
    assert Case(1_000_000, 4096, "hnsw").too_large
    assert not Case(1_000_000, 4096, "ivfpq64").too_large
