"""The training command: what a run leaves behind, and that an interrupted one ends as one that was not."""

import dataclasses
import inspect
import io
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import redirect_stdout
from typing import get_type_hints

import cv2
import numpy as np
import pytest
import torch
import yaml

from demo.town import DUSK, NOON, Town, drive
from test.as_command import ENVIRONMENT, ROOT, check_refusal
from test.conftest import DATUM
from test.killing import LONG
from test.small_training import (
    STEP,
    arguments,
    check_equal,
    make_narrow,
    make_quick,
    narrow_encoder,
    outcome,
    stopped_at,
    write_drives,
    write_trunk,
)
from training import train as train_module
from training.learning import history
from training.learning import run as training_run
from training.learning.checkpoint import load_checkpoint
from training.learning.curves import draw_curves
from training.learning.network import Network
from training.train import train
from vpr_ros.command import run
from vpr_ros.drives.folder import read_folder
from vpr_ros.encoder import DEFAULT_WEIGHTS, load_encoder, save_encoder
from vpr_ros.encoders.weights_file import weights_metadata
from vpr_ros.engine import Engine
from vpr_ros.errors import InputError
from vpr_ros.geodesy import to_geodetic
from vpr_ros.geotagged import ground_distance

FILES = {
    "weights.safetensors",
    "best.safetensors",
    "last.ckpt",
    "config.yaml",
    "history.json",
    "curves.png",
    "logs",
}
SCRIPT = [sys.executable, str(ROOT / "training" / "train.py")]


@pytest.fixture(autouse=True, scope="module")
def _quick():
    with pytest.MonkeyPatch.context() as patch:
        threads = make_quick(patch)
        yield
        torch.set_num_threads(threads)


@pytest.fixture
def narrow(monkeypatch):
    make_narrow(monkeypatch)


@pytest.fixture(scope="module")
def trunk(tmp_path_factory):
    """Weights of the narrow AlexNet."""
    with pytest.MonkeyPatch.context() as patch:
        make_narrow(patch)
        return write_trunk(tmp_path_factory.mktemp("trunk") / "narrow.safetensors")


@pytest.fixture(scope="module")
def wide_trunk(tmp_path_factory):
    """Weights of AlexNet itself, for real processes."""
    return write_trunk(tmp_path_factory.mktemp("trunk") / "alexnet.safetensors")


@pytest.fixture(scope="module")
def drives(tmp_path_factory):
    """Two drives past 14 places; only to be read."""
    return write_drives(tmp_path_factory.mktemp("data") / "drives", 14)


@pytest.fixture(scope="module")
def hard_drives(tmp_path_factory):
    """Two drives whose images AlexNet itself, random as it is, confuses; only to be read."""
    return write_drives(tmp_path_factory.mktemp("data") / "hard", 9, alike=0.35)


def finished(*line):
    """Run the command to its end; return what it printed."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.setattr(sys, "argv", ["train.py", *map(str, line)])
        run(train)
    return printed.getvalue()


@pytest.fixture(scope="module")
def whole(drives, trunk, tmp_path_factory):
    """A finished run, begun with the repository's configuration file; only to be read."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        make_narrow(patch)
        patch.setattr(history, "draw_curves", draw_curves)
        finished("--config", ROOT / "config" / "train.yaml", *arguments(drives, folder, trunk))
    return folder


# --- options


def option_defaults(function, before=""):
    """Return the default of every option by its name on the command line, a dataclass being its fields."""
    defaults = {}
    for name, parameter in inspect.signature(function).parameters.items():
        kind = get_type_hints(function)[name]
        if dataclasses.is_dataclass(kind):
            defaults |= option_defaults(kind, f"{before}{name}.")
        else:
            defaults[before + name] = parameter.default
    return defaults


def flat(options, before=""):
    result = {}
    for name, value in options.items():
        result |= flat(value, f"{before}{name}.") if isinstance(value, dict) else {before + name: value}
    return result


def test_the_config_file_of_the_repository_holds_every_default():
    defaults = option_defaults(train)
    assert {defaults.pop(name) for name in ("data", "out")} == {inspect.Parameter.empty}
    assert flat(yaml.safe_load((ROOT / "config" / "train.yaml").read_text())) == defaults


def test_the_options_for_few_drives(narrow, drives, trunk, tmp_path, caplog):
    """They are read, and a run without them tells of them."""
    caplog.set_level(logging.INFO)
    file, line = ROOT / "config" / "few_drives.yaml", arguments(drives, tmp_path / "run", trunk)
    finished(*line, "--optimisation.epochs=0")
    assert [each for each in caplog.messages if "config/few_drives.yaml" in each]
    caplog.clear()
    shutil.rmtree(tmp_path / "run")
    finished("--config", file, *line, "--optimisation.epochs=0")
    assert not [each for each in caplog.messages if "few_drives" in each]
    written = flat(yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()))
    given = flat(yaml.safe_load(file.read_text()))
    assert {name for name in given if written[name] != given[name]} <= {"optimisation.epochs", "patience"}
    assert given.items() - option_defaults(train).items() == given.items()  # nothing that is so anyway


def test_images_that_are_enlarged_are_told_of(narrow, drives, trunk, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    for size, told in (("65", True), ("64", False)):
        caplog.clear()
        line = arguments(drives, tmp_path / size, trunk)
        finished(*line, "--optimisation.epochs=0", f"--model.input_size={size}")
        assert any("with 64 it is 97 % of the work" in each for each in caplog.messages) == told


def test_every_option_is_described(call):
    status, output, _ = call(train, "--help")
    assert status == 0
    words = " ".join(output.partition("\noptions:")[2].split())
    for name in option_defaults(train):
        # the name, what stands for its value, and words before the type in brackets
        assert re.search(rf" --{re.escape(name)} [A-Z{{]\S+( --\S+ \S+)? [A-Za-z0-9]", words), name


# --- what a run leaves behind


def test_the_files_of_a_run(whole):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert {file.name for file in whole.iterdir()} == FILES
    epochs = json.loads((whole / "history.json").read_text())["epochs"]
    assert [entry["epoch"] for entry in epochs] == [0, 1, 2]
    events = EventAccumulator(str(whole / "logs")).Reload()
    for name in ("loss", "violating", "learning_rate", "recall@1", "recall@5", "recall@10"):
        logged = {event.step: event.value for event in events.Scalars(name)}
        assert logged == {entry["epoch"]: pytest.approx(entry[name]) for entry in epochs if name in entry}
        assert 2 in logged
    assert min(cv2.imread(str(whole / "curves.png")).shape[:2]) > 500
    assert weights_metadata(whole / "weights.safetensors")["dimension"] == 8
    assert weights_metadata(whole / "best.safetensors")["dimension"] == 0
    assert "28 images of data" in weights_metadata(whole / "weights.safetensors")["trained_on"]


def recall(weights, folder, n):
    """Return recall@N of each drive's images among the other's, image by image."""
    images = read_folder(folder)
    descriptors = Engine(load_encoder(weights), torch.device("cpu")).encode(
        [images.read(row) for row in range(len(images))]
    )
    hits = 0
    for query in range(len(images)):
        others = np.flatnonzero(images.rows["session"] != images.rows["session"][query])
        distances = np.linalg.norm(descriptors[others] - descriptors[query], axis=1)
        found = others[np.argsort(distances)[:n]]
        hits += (ground_distance(images.rows[found], images.rows[query]) <= 25).any()
    return hits / len(images)


def test_both_weights_files_recognise_as_the_history_says(narrow, whole, drives):
    figures = json.loads((whole / "history.json").read_text())
    entries = figures["epochs"]
    best = max(entries, key=lambda entry: (entry["recall@5"], entry["recall@1"], entry["recall@10"]))
    assert figures["best"] == best["epoch"] > 0  # else weights that were never trained would do
    assert best["recall@1"] > entries[0]["recall@1"]
    for n in (1, 5, 10):
        assert recall(whole / "best.safetensors", drives, n) == pytest.approx(best[f"recall@{n}"])
        assert recall(whole / "weights.safetensors", drives, n) == pytest.approx(
            figures["whitened"][f"recall@{n}"]
        )


def test_the_config_of_a_run_gives_the_same_run(narrow, whole, tmp_path):
    printed = finished("--config", whole / "config.yaml", "--out", tmp_path / "again")
    check_equal(tmp_path / "again", whole)
    assert str(tmp_path / "again" / "weights.safetensors") in printed.splitlines()[-1]


def test_another_seed_is_another_run(narrow, whole, tmp_path):
    finished("--config", whole / "config.yaml", "--out", tmp_path / "other", "--seed", 1)
    one, other = (outcome(folder)[0]["best pooling.centres"] for folder in (whole, tmp_path / "other"))
    assert not torch.allclose(one, other, atol=1e-3)


def test_the_town_is_learnt(tmp_path):
    """Two epochs teach the shipped AlexNet the dusk of a street that it was not trained on."""
    town, folder = Town(0), tmp_path / "town"
    folder.mkdir()
    lines = ["image,latitude,longitude,session"]
    for session, light, lane, cars in (("noon", NOON, -1.8, 1), ("dusk", DUSK, -0.6, 2)):
        _, *poses = drive(town.route("first"), lane, speed=1.0, rate=1 / 5)
        for frame, (x, y, yaw) in enumerate(zip(*poses, strict=True)):
            image = town.render(
                x, y, yaw, light, size=(96, 128), cars_seed=cars, noise_seed=1000 * cars + frame
            )
            cv2.imwrite(str(folder / f"{session}{frame}.png"), image[..., ::-1])
            latitude, longitude, _ = to_geodetic([x, y, 0.0], DATUM).tolist()
            lines.append(f"{session}{frame}.png,{latitude:.9f},{longitude:.9f},{session}")
    (folder / "images.csv").write_text("\n".join(lines) + "\n")
    options = {
        "model.weights": DEFAULT_WEIGHTS,
        "model.input-size": 96,
        "model.train-from": "conv4",
        "radii.sessions": "other",  # from noon to dusk and back
        "mining.kept": 3,
        "mining.refresh-every": 100,
        "optimisation.epochs": 2,
        "val-share": 0.3,
        "val-radius": 10,
        "whiten.dimension": 32,
        "device": "cpu",
    }
    line = [text for name, value in options.items() for text in (f"--{name}", value)]
    finished("--data", folder, "--out", tmp_path / "run", *line)
    figures = json.loads((tmp_path / "run" / "history.json").read_text())
    before, first, last = figures["epochs"]
    # 67 queries at the held-out end of the drive: 0.39 of them before, with three seeds 0.58 to 0.6 after
    assert before["recall@1"] < 0.5
    assert last["recall@1"] > before["recall@1"] + 0.1
    assert last["recall@5"] > before["recall@5"]
    assert last["loss"] < 0.6 * first["loss"]
    assert figures["best"] > 0


# --- interrupted


def go_on_until_the_end(call, patch, line, folder, seed):
    """Interrupt a run again and again, wherever it looks; return the states that it was interrupted in."""
    random, states = np.random.default_rng(seed), []
    while len(states) < 60:
        resume = ["--resume"] if (folder / "last.ckpt").exists() else []
        with stopped_at(patch, random.integers(1, 12)):
            status, _, errors = call(train, *line, *resume)
        if status == 0:
            return states
        assert status == 130, errors
        said = [text for text in errors.splitlines() if "last.ckpt" in text]
        assert len(said) == 1
        assert "--resume" in said[0]
        states.append(load_checkpoint(folder / "last.ckpt")["learner"])
    raise AssertionError("it does not get on")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {
            "augmentation__colour": 0.3,
            "augmentation__blur": 1,
            "augmentation__crop": 0.2,
            "augmentation__flip": True,
        },
        {
            "model__initialisation": "v2",
            "model__assignment": "tied",
            "radii__sessions": "drawn",
            "optimisation__name": "Adam",
            "optimisation__average": 0.9,
            "optimisation__halve_every": 1,
        },
        {"model__pooling": "max", "model__train_from": "conv1"},
    ],
    ids=["plain", "augmented", "tied", "max"],
)
def test_interrupted_anywhere_it_ends_the_same(narrow, call, monkeypatch, drives, trunk, tmp_path, options):
    options = options | {"optimisation__batch": 3}
    finished(*arguments(drives, tmp_path / "whole", trunk, **options))
    line = arguments(drives, tmp_path / "parts", trunk, **options)
    states = go_on_until_the_end(call, monkeypatch, line, tmp_path / "parts", len(options))
    assert len(states) > 4
    assert {state["epoch"] for state in states} == {0, 1}
    # some of them between two steps of a period, with its tuples
    assert any(
        state["tuples"] and 0 < state["done"] - state["first"] < len(state["tuples"]["queries"])
        for state in states
    )
    check_equal(tmp_path / "parts", tmp_path / "whole")


def test_killed_or_interrupted_at_any_moment_it_can_go_on(narrow, drives, trunk, tmp_path):
    """Real processes: each goes on from what the one before has left."""
    done = subprocess.run(
        [sys.executable, "-m", "test.killing", str(drives), str(tmp_path / "parts"), str(trunk)],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # one line for a signal; who sends two does not wait for it
    assert done.stderr.count(f"{tmp_path / 'parts' / 'last.ckpt'}: go on from here with --resume") == 2
    assert "Traceback" not in done.stderr
    finished(*arguments(drives, tmp_path / "whole", trunk, **LONG))
    check_equal(tmp_path / "parts", tmp_path / "whole")
    # nothing is left of what was killed
    assert {file.name for file in (tmp_path / "parts").iterdir()} == FILES - {"curves.png"}


def test_interrupted_while_the_whitening_is_fitted(narrow, call, monkeypatch, whole, drives, trunk, tmp_path):
    line = arguments(drives, tmp_path / "run", trunk)

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training_run, "with_whitening", interrupted)
        assert call(train, *line)[0] == 130
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    finished(*line, "--resume")
    check_equal(tmp_path / "run", whole)


def test_a_finished_run_can_be_prolonged(narrow, whole, drives, trunk, tmp_path):
    shutil.copytree(whole, tmp_path / "more")
    longer = {"optimisation__epochs": 3}
    line = arguments(drives, tmp_path / "more", trunk, **longer, cache__memory=0, patience=7)
    finished(*line, "--resume")
    finished(*arguments(drives, tmp_path / "at once", trunk, **longer))
    check_equal(tmp_path / "more", tmp_path / "at once")


# --- refusals


@pytest.mark.parametrize(
    ("option", "parts"),
    [
        ({"model__trunk": "resnet"}, ["'resnet'", "alexnet, vgg16"]),
        ({"model__train_from": "conv6"}, ["'conv6'", "conv1, conv2", "pooling"]),
        ({"model__pooling": "mean"}, ["'mean'", "netvlad, max"]),
        ({"model__pooling": "max", "model__train_from": "pooling"}, ["pooling"]),
        ({"model__initialisation": "v3"}, ["'v3'", "v1, v2"]),
        ({"model__assignment": "tied"}, ["tied", "v2"]),
        ({"model__weights": "none.safetensors"}, ["none.safetensors"]),
        ({"optimisation__name": "Lion"}, ["'Lion'", "SGD, Adam, AdamW"]),
        ({"radii__sessions": "both"}, ["'both'", "any, other, drawn"]),
        ({"precision": "16-true"}, ["'16-true'", "32-true, bf16-mixed"]),
        ({"devices": 1000}, ["--devices 1000"]),
        ({"data": "nowhere"}, ["nowhere"]),
        ({"val": "nowhere"}, ["nowhere"]),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_and_nothing_written(narrow, call, drives, trunk, tmp_path, option, parts):
    line = arguments(option.pop("data", drives), tmp_path / "run", trunk, **option)
    check_refusal(*call(train, *line), *parts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "option",
    [
        {"mining__refresh_every": 0},
        {"optimisation__learning_rate": ".nan"},
        {"whiten__dimension": -1},
        {"whiten__shrinkage": -1},
        {"val_radius": -1},
        {"seed": -1},
    ],
    ids=str,
)
def test_a_number_out_of_range_is_refused(narrow, call, drives, trunk, tmp_path, option):
    check_refusal(*call(train, *arguments(drives, tmp_path / "run", trunk, **option)))


def test_max_pooling_has_no_assignment_to_tie(narrow, call, drives, trunk, tmp_path):
    file = tmp_path / "max.safetensors"
    save_encoder(narrow_encoder("max"), file, "nothing")
    options = {"model__weights": file, "model__assignment": "tied", "model__initialisation": "v2"}
    check_refusal(*call(train, *arguments(drives, tmp_path / "run", trunk, **options)), "tied", "netvlad")


def test_a_run_is_not_lost_by_starting_another(narrow, call, whole, drives, trunk):
    before = {file: file.read_bytes() for file in whole.rglob("*") if file.is_file()}
    check_refusal(*call(train, *arguments(drives, whole, trunk)), whole, "--resume", "--out")
    check_refusal(
        *call(train, *arguments(drives, whole, trunk, model__train_from="conv4"), "--resume"),
        whole,
        "model.train_from",
        "conv4",
    )
    check_refusal(*call(train, *arguments(drives, whole, trunk, seed=5), "--resume"), whole, "seed 0", "5")
    assert before == {file: file.read_bytes() for file in whole.rglob("*") if file.is_file()}


def test_no_run_to_go_on_with(narrow, call, drives, trunk, tmp_path):
    line = arguments(drives, tmp_path / "run", trunk)
    check_refusal(*call(train, *line, "--resume"), tmp_path / "run" / "last.ckpt", "--resume")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "run").write_text("a file")
    check_refusal(*call(train, *line), tmp_path / "run", "is a file")


@pytest.mark.parametrize(
    "damage",
    [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: raw[:200] + bytes(5000) + raw[5200:]],
    ids=["half", "empty", "zeros"],
)
def test_a_damaged_checkpoint(narrow, call, whole, drives, trunk, tmp_path, damage):
    shutil.copytree(whole, tmp_path / "run")
    file = tmp_path / "run" / "last.ckpt"
    file.write_bytes(damage(file.read_bytes()))
    check_refusal(*call(train, *arguments(drives, tmp_path / "run", trunk), "--resume"), file)


def moved(folder):
    file = folder / "images.csv"
    file.write_text(re.sub(r"\na003.png,[0-9.]+", "\na003.png,52.1", file.read_text()))


def a_row_less(folder):
    file = folder / "images.csv"
    file.write_text("\n".join(file.read_text().splitlines()[:-1]) + "\n")


def a_damaged_image(folder):
    """The rows of the images after it are others now."""
    (folder / "a003.png").write_bytes(b"not a picture")


@pytest.mark.parametrize("change", [moved, a_row_less, a_damaged_image])
def test_going_on_with_other_data(narrow, call, monkeypatch, drives, trunk, tmp_path, change):
    shutil.copytree(drives, tmp_path / "data")
    line = arguments(tmp_path / "data", tmp_path / "run", trunk)
    with stopped_at(monkeypatch, 12):
        assert call(train, *line)[0] == 130
    change(tmp_path / "data")
    check_refusal(*call(train, *line, "--resume"), tmp_path / "run", "images")


# --- data


def test_a_part_is_held_out_by_place_without_validation_data(narrow, monkeypatch, drives, trunk, tmp_path):
    parts = {}

    def no_run(fabric, folder, images, validation, *others):
        parts.update(training=images, validation=validation)
        raise InputError("seen enough")

    monkeypatch.setattr(train_module, "TrainingRun", no_run)
    line = arguments(drives, tmp_path / "run", trunk, val="null", val_share=0.4, val_radius=STEP + 10)
    monkeypatch.setattr(sys, "argv", ["train.py", *map(str, line)])
    with pytest.raises(SystemExit):
        run(train)
    training, validation = parts["training"], parts["validation"]
    apart = ground_distance(training.rows[:, None], validation.rows[None])
    assert apart.min() > STEP + 10  # the larger of the radius and that of definite negatives
    assert 9 <= len(validation) <= 13
    assert len(training) >= 28 - len(validation) - 4
    # rows and pixels belong together
    whole = read_folder(drives)
    row = whole.rows["image"].tolist().index(validation.rows["image"][3])
    assert np.array_equal(validation.read(3), whole.read(row))


def test_a_run_without_validation_data(narrow, caplog, drives, trunk, tmp_path):
    caplog.set_level(logging.INFO)
    finished(*arguments(drives, tmp_path / "run", trunk, val="null"))
    assert re.search(r"\b6 of 28 images held out by place", caplog.text)
    assert "22 training images, 22 of them queries" in caplog.text
    assert "6 validation images, 6 of them queries" in caplog.text


def test_an_image_that_does_not_decode_is_left_out(narrow, caplog, drives, trunk, tmp_path):
    """The run is that of a table which never had it."""
    for name in ("damaged", "without"):
        shutil.copytree(drives, tmp_path / name)
    (tmp_path / "damaged" / "a003.png").write_bytes(b"not a picture")
    (tmp_path / "damaged" / "b009.png").unlink()
    table = tmp_path / "without" / "images.csv"
    kept = [line for line in table.read_text().splitlines() if not line.startswith(("a003", "b009"))]
    table.write_text("\n".join(kept) + "\n")
    for name in ("damaged", "without"):
        finished(*arguments(tmp_path / name, tmp_path / f"run {name}", trunk, val=drives))
    check_equal(tmp_path / "run damaged", tmp_path / "run without")
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert "a003.png" in warnings[0]
    assert "b009.png" in warnings[1]


def test_fewer_images_than_dimensions_give_a_smaller_whitening(narrow, caplog, drives, trunk, tmp_path):
    # of 16 x 4 values and 28 images, 27 dimensions can be known
    printed = finished(
        *arguments(drives, tmp_path / "run", trunk, optimisation__epochs=1, whiten__dimension=40)
    )
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    for number in ("40", "27", "28"):
        assert re.search(rf"\b{number}\b", warning)
    assert weights_metadata(tmp_path / "run" / "weights.safetensors")["dimension"] == 27
    assert "27 dimensions" in printed


def test_no_whitening(narrow, drives, trunk, tmp_path):
    finished(*arguments(drives, tmp_path / "run", trunk, optimisation__epochs=1, whiten__dimension=0))
    tensors, figures = outcome(tmp_path / "run")
    assert figures["whitened"]["recall@1"] == figures["epochs"][figures["best"]]["recall@1"]
    for name in ("trunk.0.weight", "pooling.centres"):
        torch.testing.assert_close(tensors[f"weights {name}"], tensors[f"best {name}"].half())
    assert not any(name.startswith("weights whitening") for name in tensors)


def test_training_ends_when_nothing_gets_better(narrow, drives, trunk, tmp_path):
    options = {"optimisation__learning_rate": 1e-12, "optimisation__epochs": 9}
    finished(*arguments(drives, tmp_path / "run", trunk, **options, patience=2))
    figures = outcome(tmp_path / "run")[1]
    assert (len(figures["epochs"]), figures["best"]) == (3, 2)  # all alike: the last
    # going on with more patience, it does not begin anew
    finished(*arguments(drives, tmp_path / "run", trunk, **options, patience=3), "--resume")
    assert len(outcome(tmp_path / "run")[1]["epochs"]) == 4


# --- what is kept instead of being computed again


@pytest.fixture(scope="module")
def mixed_drives(tmp_path_factory):
    """Images of three sizes, upright, lying and larger than the input size."""
    sizes = [(64, 80), (80, 64), (128, 160)]
    folder = tmp_path_factory.mktemp("data") / "mixed"
    return write_drives(folder, 12, size=lambda place, drive: sizes[(place + drive) % 3])


def test_where_features_are_kept_changes_nothing(narrow, monkeypatch, mixed_drives, trunk, tmp_path):
    sizes = []

    class Looking(training_run.Learner):
        def train_epoch(self, *arguments):
            sizes.append({file.name: file.stat().st_size for file in (tmp_path / "file" / "cache").glob("*")})
            return super().train_epoch(*arguments)

    finished(*arguments(mixed_drives, tmp_path / "memory", trunk))
    monkeypatch.setattr(training_run, "Learner", Looking)
    finished(*arguments(mixed_drives, tmp_path / "file", trunk, cache__memory=0))
    assert [sorted(size) for size in sizes] == [["training-0.bin", "validation-0.bin"]] * 2
    assert all(min(size.values()) > 10000 for size in sizes)
    check_equal(tmp_path / "file", tmp_path / "memory")  # which also looks for what is left in the folder
    assert not (tmp_path / "file" / "cache").exists()
    # from the images it is the same but for the rounding of other batches
    finished(*arguments(mixed_drives, tmp_path / "images", trunk, cache__features=False))
    check_close(tmp_path / "images", tmp_path / "memory", 1e-4)


def check_close(folder, other, tolerance):
    """Check that two runs trained with the same tuples and ended alike, within rounding."""
    (tensors, figures), (others, other_figures) = outcome(folder), outcome(other)
    for entry, other_entry in zip(figures["epochs"], other_figures["epochs"], strict=True):
        assert entry == pytest.approx(other_entry, abs=1e-3)
    names = {name for name in tensors if name.startswith("best ") or "tuples" in name or "remembered" in name}
    assert names == {
        name for name in others if name.startswith("best ") or "tuples" in name or "remembered" in name
    }
    for name in names:
        torch.testing.assert_close(tensors[name], others[name], atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("looks", [1, 9], ids=["validating", "training"])
def test_an_interrupt_removes_the_file_of_features(narrow, call, monkeypatch, drives, trunk, tmp_path, looks):
    with stopped_at(monkeypatch, looks):
        status, _, errors = call(train, *arguments(drives, tmp_path / "run", trunk, cache__memory=0))
    assert status == 130, errors
    assert (tmp_path / "run" / "last.ckpt").is_file()
    assert not (tmp_path / "run" / "cache").exists()


@pytest.mark.parametrize("batch", [2, 4], ids=["training", "validation"])
def test_an_interrupt_while_features_are_computed_removes_their_file(
    narrow, call, monkeypatch, trunk, tmp_path, batch
):
    """It may have hundreds of GiB by then."""
    data = write_drives(tmp_path / "data", 20)  # two batches of images each
    whole, calls = Network.features, [0]

    def interrupted(self, images):
        calls[0] += 1
        if calls[0] == batch:
            raise KeyboardInterrupt
        return whole(self, images)

    monkeypatch.setattr(Network, "features", interrupted)
    status, _, errors = call(train, *arguments(data, tmp_path / "run", trunk, cache__memory=0))
    assert status == 130, errors
    assert calls[0] == batch
    assert not (tmp_path / "run" / "cache").exists()


# --- several processes


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="a process for each core at most")
def test_two_processes_train_as_one(hard_drives, wide_trunk, tmp_path):
    """An interrupt of the first process stops both, which then go on to the same end as one alone.

    The 18 queries are mined nine at a time and trained with in fives: the shares are not of equal size, and
    the last step's one tuple is none for one of the processes.
    """
    options = {"mining__refresh_every": 9, "optimisation__batch": 4, "optimisation__epochs": 3}
    line = arguments(hard_drives, tmp_path / "two", wide_trunk, **options, devices=2)
    process = subprocess.Popen(
        [*SCRIPT, *line],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        said = b""
        while not re.search(rb"epoch 1/3:[^\r]*\| [1-9]\d*/18 ", said):
            piece = os.read(process.stderr.fileno(), 1000)
            assert piece, said
            said += piece
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert process.returncode == 130, errors
    assert b"Traceback" not in errors
    assert errors.count(b"--resume") == 1
    assert load_checkpoint(tmp_path / "two" / "last.ckpt")["learner"]["epoch"] < 3
    done = subprocess.run(
        [*SCRIPT, *line, "--resume"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 3:") == 1  # one of them speaks
    assert done.stdout.count("weights.safetensors") == 1
    finished(*arguments(hard_drives, tmp_path / "one", wide_trunk, **options))
    check_close(tmp_path / "two", tmp_path / "one", 1e-4)
