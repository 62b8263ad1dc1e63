"""What came before, from images of a town to one table with a network: learnt, mapped, found, compared."""

import cv2
import numpy as np
import pytest

from demo.town import EVENING, NOON, Town, drive
from test.as_command import check_refusal
from test.conftest import DATUM, write_image_folder
from training import learn_hand_crafted as module
from training.build_map import build_map
from training.evaluate import evaluate
from training.learn_hand_crafted import learn_hand_crafted
from vpr_ros.encoders.hand_crafted import HandCrafted
from vpr_ros.encoders.weights_file import weights_metadata
from vpr_ros.geodesy import to_geodetic
from vpr_ros.open_engine import load_model, open_engine
from vpr_ros.place_map import open_map
from vpr_ros.replay import replay

SMALL = {"centres": 16, "dimension": 32, "input_size": 120, "step": 6}


def write_town(folder, town, lane, light, cars, metres):
    """Write a drive through the town as a folder of images, one every so many metres."""
    folder.mkdir(parents=True)
    _, east, north, yaw = drive(town.route("first"), lane, speed=metres, rate=1.0)
    lines = ["image,latitude,longitude,altitude,heading,stamp,session"]
    for number, pose in enumerate(zip(east, north, yaw, strict=True)):
        image = town.render(*pose, light, cars_seed=cars, noise_seed=1000 * cars + number, size=(120, 160))
        cv2.imwrite(str(folder / f"{number:03d}.png"), image[..., ::-1])
        latitude, longitude, altitude = to_geodetic([pose[0], pose[1], 0.0], DATUM).tolist()
        heading = (90 - np.degrees(pose[2])) % 360
        lines.append(
            f"{number:03d}.png,{latitude:.9f},{longitude:.9f},{altitude:.3f},{heading:.1f},"
            f"{(number + 1) * 10**9},{folder.name}"
        )
    (folder / "images.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    """Two drives: one by noon, and one in the evening, in another lane, past other cars."""
    folder, built = tmp_path_factory.mktemp("town"), Town(0)
    write_town(folder / "noon", built, -1.8, NOON, 1, 10.0)
    write_town(folder / "evening", built, -0.6, EVENING, 2, 17.0)
    return folder


@pytest.fixture(scope="module")
def learnt(town, tmp_path_factory):
    """Weights of each kind, by name; only to be read."""
    folder = tmp_path_factory.mktemp("weights")
    kinds = {
        "dense-vlad": {"aggregate": "vlad"},
        "dense-fisher": {"aggregate": "fisher"},
        "sift-vlad": {"features": "sift"},
    }
    for name, options in kinds.items():
        learn_hand_crafted(town / "noon", folder / f"{name}.safetensors", **SMALL, **options)
    return {name: folder / f"{name}.safetensors" for name in kinds}


@pytest.fixture(scope="module")
def maps(town, learnt, tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    for name, weights in learnt.items():
        build_map(town / "noon", folder / name, weights)
    return {name: folder / name for name in learnt}


def test_it_is_what_was_asked_for(learnt):
    for name, (features, aggregate) in {
        "dense-vlad": ("dense-rootsift", "vlad"),
        "dense-fisher": ("dense-rootsift", "fisher"),
        "sift-vlad": ("sift", "vlad"),
    }.items():
        assert load_model(learnt[name]).architecture == HandCrafted(features, aggregate, 16, 32, 120, 6)
    assert "images of" in weights_metadata(learnt["dense-vlad"])["trained_on"]
    fingerprints = {load_model(weights).fingerprint() for weights in learnt.values()}
    assert len(fingerprints) == len(learnt)


def test_learning_again_gives_the_same(town, learnt, tmp_path):
    learn_hand_crafted(town / "noon", tmp_path / "again.safetensors", **SMALL)
    again = load_model(tmp_path / "again.safetensors").fingerprint()
    assert again == load_model(learnt["dense-vlad"]).fingerprint()


def test_one_table_with_a_network(call, town, maps, learnt, weights, tmp_path):
    """Better than by chance, each beside the other, and the same map once more by asymmetric distances."""
    build_map(town / "noon", tmp_path / "network", weights)
    build_map(town / "noon", tmp_path / "adc", learnt["dense-vlad"], index="PQ8x4", stored="none")
    folders = [*maps.values(), tmp_path / "adc", tmp_path / "network"]
    files = [*learnt.values(), learnt["dense-vlad"], weights]
    status, output, errors = call(
        *(evaluate, "--data", town / "evening", "--json", tmp_path / "figures.json"),
        *("--map", f"[{','.join(map(str, folders))}]"),
        *("--weights", f"[{','.join(map(str, files))}]"),
    )
    assert status == 0, errors
    rows = [line.strip("| ").split(" | ") for line in output.splitlines()]
    assert rows[0][:2] == ["map", "weights"]
    assert [row[:2] for row in rows[2:]] == [
        [str(folder), file.stem] for folder, file in zip(folders, files, strict=True)
    ]
    table = {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[2:]}
    assert len({row["queries"] for row in table.values()}) == 1
    places = len(open_map(folders[0]))
    chance = 100 * 6 / places  # 25 m to both sides, a place every 10 m
    for folder, least in zip(folders, (3, 3, 2, 3), strict=False):
        assert float(table[str(folder)]["R@1"]) > least * chance
    full, adc = table[str(maps["dense-vlad"])], table[str(tmp_path / "adc")]
    assert int(adc["bytes a place"]) < int(full["bytes a place"])
    assert int(full["bytes a place"]) == pytest.approx(4 * 32, rel=0.1)
    assert all(float(row[name]) > 0 for row in table.values() for name in ("encode, ms", "search, ms"))


def test_one_file_of_weights_for_all_maps(town, maps, learnt, tmp_path):
    build_map(town / "noon", tmp_path / "again", learnt["dense-vlad"])
    both = evaluate([maps["dense-vlad"], tmp_path / "again"], town / "evening", learnt["dense-vlad"])
    assert both[0]["recall@1"] == both[1]["recall@1"]
    assert [each["map"] for each in both] == [str(maps["dense-vlad"]), str(tmp_path / "again")]


def test_a_drive_is_replayed_on_its_map(town, maps, learnt, tmp_path):
    figures = replay(town / "evening", maps["dense-vlad"], tmp_path / "result", learnt["dense-vlad"])
    assert figures["recall"]["25m"]["recall@1"] > 0.4


def test_maps_of_others_are_refused_before_the_work(call, town, maps, learnt, weights):
    told = call(evaluate, "--data", town / "evening", "--map", maps["dense-vlad"], "--weights", weights)
    check_refusal(*told, maps["dense-vlad"], "other weights")
    one, other = maps["dense-vlad"], maps["dense-fisher"]
    options = ["--data", town / "evening", "--map", f"[{one},{other}]", "--weights", learnt["dense-vlad"]]
    status, output, errors = call(evaluate, *options)
    check_refusal(status, output, errors, other, "other weights")
    assert "encoding" not in errors
    files = ",".join([str(learnt["dense-vlad"])] * 3)
    told = call(evaluate, *options[:-1], f"[{files}]")
    check_refusal(*told, "3 for 2 maps")


def test_a_night_without_light(maps, learnt):
    """A black image has an answer, as unlike every place as any."""
    described = open_engine(learnt["dense-vlad"], "cpu").encode([np.zeros((120, 160, 3), np.uint8)])
    similarities, places = open_map(maps["dense-vlad"]).search(described, 3)
    assert np.isfinite(similarities).all()
    assert (places >= 0).all()
    assert similarities.max() < 0.9


# --- what it refuses, and what it leaves out


@pytest.mark.parametrize(
    ("option", "part"),
    [
        (["--features", "surf"], "dense-rootsift, rootsift, sift"),
        (["--aggregate", "bow"], "vlad, fisher"),
        (["--centres", "1"], "from 2 to 4096"),
        (["--dimension", "-1"], "from 0 to 65536"),
        (["--input-size", "8"], "from 64 to 4096"),
        (["--step", "0"], "from 1 to 64"),
        (["--shrinkage", "-1"], "shrinkage"),
        (["--out", "weights.onnx"], ".safetensors"),
    ],
)
def test_options_that_cannot_be(call, tmp_path, option, part):
    walk = write_image_folder(tmp_path / "walk", 2)
    check_refusal(
        *call(learn_hand_crafted, "--data", walk, "--out", tmp_path / "w.safetensors", *option), part
    )
    assert [file.name for file in tmp_path.iterdir()] == ["walk"]


def few_options(folder, **options):
    return [f"--{name.replace('_', '-')}={value}" for name, value in (SMALL | options).items()] + [
        f"--data={folder}"
    ]


def test_too_few_features_or_images(call, tmp_path):
    walk = write_image_folder(tmp_path / "walk", 3)
    line = [*few_options(walk, centres=4000, features="sift"), "--out", tmp_path / "w.safetensors"]
    check_refusal(*call(learn_hand_crafted, *line), "at least 4000", "give more images")
    line = [*few_options(walk), "--rows", ":1", "--out", tmp_path / "w.safetensors"]
    check_refusal(*call(learn_hand_crafted, *line), "1 images to whiten with", "--dimension 0")
    assert not (tmp_path / "w.safetensors").exists()


def test_an_image_that_does_not_decode_is_left_out(tmp_path, caplog):
    walk = write_image_folder(tmp_path / "walk", 8)
    (walk / "003.png").write_bytes(b"not a picture")
    learn_hand_crafted(walk, tmp_path / "w.safetensors", **(SMALL | {"dimension": 4}))
    assert load_model(tmp_path / "w.safetensors").dimension == 4
    assert "003.png" in caplog.text


def test_few_images_give_fewer_dimensions_and_none_is_no_whitening(tmp_path, caplog):
    walk = write_image_folder(tmp_path / "walk", 5)
    learn_hand_crafted(walk, tmp_path / "w.safetensors", **SMALL)
    assert load_model(tmp_path / "w.safetensors").dimension == 4
    assert "whitening to 4 dimensions instead of 32" in caplog.text
    learn_hand_crafted(walk, tmp_path / "w.safetensors", **(SMALL | {"dimension": 0}))
    assert load_model(tmp_path / "w.safetensors").dimension == 16 * 128


def test_an_interrupt_leaves_what_was_there(call, monkeypatch, tmp_path):
    walk = write_image_folder(tmp_path / "walk", 5)
    (tmp_path / "w.safetensors").write_text("of yesterday")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "fit_whitening", interrupted)
    status, _, errors = call(learn_hand_crafted, *few_options(walk), "--out", tmp_path / "w.safetensors")
    assert status == 130
    assert errors.endswith("interrupted\n")
    assert (tmp_path / "w.safetensors").read_text() == "of yesterday"
