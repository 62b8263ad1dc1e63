"""The command that calibrates a map: what it writes and prints, and what it refuses in one line."""

import functools
import json
import shutil

import cv2
import numpy as np
import pytest

from test.as_command import check_refusal, script
from test.conftest import write_image_folder
from training.build_map import build_map
from training.calibrate import FEWEST, calibrate
from vpr_ros import open_engine
from vpr_ros.calibration import FILE, read_calibration
from vpr_ros.encoder import load_encoder
from vpr_ros.engine import Engine
from vpr_ros.images import image_files
from vpr_ros.place_map import open_map

PLACES = FEWEST + 2


@pytest.fixture(autouse=True, scope="module")
def _encoding_once():
    """Encode each image once in this process: these tests are about what is done with that."""
    known = {}

    def encode(engine, images):
        if not images:
            return whole(engine, images)
        for image in images:
            if (engine.fingerprint, image.tobytes()) not in known:
                (known[engine.fingerprint, image.tobytes()],) = whole(engine, [image])
        return np.stack([known[engine.fingerprint, image.tobytes()] for image in images])

    whole = Engine.encode
    once = functools.cache(load_encoder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "encode", encode)
        patch.setattr(open_engine, "load_encoder", once)
        yield


@pytest.fixture(scope="module")
def built(weights, tmp_path_factory):
    """A map of places 30 m apart; only to be read."""
    folder = tmp_path_factory.mktemp("maps") / "map"
    walk = write_image_folder(tmp_path_factory.mktemp("data") / "walk", PLACES)
    build_map(walk, folder, weights)
    return folder


def write_drive(folder, count=PLACES, first=0, noise=30.0):
    """Write the images of the places again, seen worse."""
    write_image_folder(folder, count, first=first)
    rng = np.random.default_rng(0)
    for file in sorted(folder.glob("*.png")):
        image = cv2.imread(str(file)).astype(float)
        cv2.imwrite(str(file), np.clip(image + rng.normal(0, noise, image.shape), 0, 255).astype(np.uint8))
    return folder


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    return write_drive(tmp_path_factory.mktemp("data") / "drive")


@pytest.fixture
def map_folder(built, tmp_path):
    """A copy of the map, to calibrate."""
    return shutil.copytree(built, tmp_path / "map")


def test_it_writes_into_the_map_and_says_what_it_found(map_folder, drive, weights, tmp_path):
    before = {file.name: file.read_bytes() for file in map_folder.iterdir() if file.is_file()}
    # the drive may be named without its option
    options = ["--map", "map", "--weights", weights, "--radius", "20"]
    done = script("calibrate.py", drive, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"{PLACES} frames of {drive}, right within 20 m"
    assert lines[-1] == f"written to map/{FILE}"
    assert "calibrating: 100%" in done.stderr
    # the map is what it was, and holds one file more
    after = {file.name: file.read_bytes() for file in map_folder.iterdir() if file.is_file()}
    assert after.pop(FILE)
    assert after == before
    calibration = read_calibration(open_map(map_folder))
    assert (calibration.frames, calibration.radius, calibration.drive) == (PLACES, 20.0, str(drive))
    assert calibration.belief.cluster_radius == 20.0
    assert calibration.belief.yaw_std == 0.02  # the headings are those of the map
    assert f"temperature {calibration.belief.temperature:.3g}" in done.stdout


def test_the_second_takes_the_place_of_the_first(call, map_folder, drive, weights):
    options = ["--data", drive, "--map", map_folder, "--weights", weights]
    status, _, errors = call(calibrate, *options, "--view-std", 2, "--max-speed", 40)
    assert status == 0, errors
    first = read_calibration(open_map(map_folder))
    assert (first.belief.view_std, first.dynamics.max_speed) == (2.0, 40.0)
    status, output, errors = call(calibrate, *options, "--rows", ":-1")
    assert status == 0, errors
    assert output.startswith(f"{PLACES - 1} frames of")
    second = read_calibration(open_map(map_folder))
    assert (second.frames, second.belief.view_std) == (PLACES - 1, 3.0)


def test_the_same_drive_gives_the_same_calibration(call, map_folder, drive, weights):
    options = ["--data", drive, "--map", map_folder, "--weights", weights]
    call(calibrate, *options)
    first = (map_folder / FILE).read_bytes()
    call(calibrate, *options)
    assert (map_folder / FILE).read_bytes() == first


def test_images_that_do_not_decode_are_left_out_and_counted(
    call, map_folder, drive, weights, tmp_path, caplog
):
    torn = shutil.copytree(drive, tmp_path / "torn")
    (torn / "003.png").write_bytes((torn / "003.png").read_bytes()[:100])
    cv2.imwrite(str(torn / "011.png"), np.zeros((20, 400, 3), np.uint8))  # decodes, and is no picture
    status, output, errors = call(calibrate, "--data", torn, "--map", map_folder, "--weights", weights)
    assert status == 0, errors
    assert output.startswith(f"{PLACES - 2} frames of")
    assert f"2 of {PLACES} images left out, the first: {torn / '003.png'}" in caplog.text


def test_whatever_a_decoder_stumbles_over_is_that_images(
    call, map_folder, drive, weights, monkeypatch, caplog
):
    def decode(data, file):
        if file.name == "005.png":
            raise OSError(5, "Input/output error")
        return whole(data, file)

    whole = image_files._decode
    monkeypatch.setattr(image_files, "_decode", decode)
    status, output, errors = call(calibrate, "--data", drive, "--map", map_folder, "--weights", weights)
    assert status == 0, errors
    assert output.startswith(f"{PLACES - 1} frames of")
    assert f"1 of {PLACES} images left out, the first: [Errno 5]" in caplog.text


def test_a_truth_file_says_where_the_drive_went(call, map_folder, drive, weights, tmp_path):
    """And of frames that it does not cover it is not known whether they are right."""
    lines = (drive / "images.csv").read_text().splitlines()
    columns = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    truth = tmp_path / "truth.csv"
    track = [f"{c['stamp']},{c['latitude']},{c['longitude']}" for c in columns[: PLACES - 1]]
    truth.write_text("\n".join(["stamp,latitude,longitude", *track]) + "\n")
    options = ["--data", drive, "--map", map_folder, "--weights", weights, "--truth", truth]
    status, output, errors = call(calibrate, *options)
    assert status == 0, errors
    assert output.startswith(f"{PLACES - 1} frames of")


# --- what is refused


def refuse(call, *options, parts):
    status, output, errors = call(calibrate, *options)
    check_refusal(status, output, errors, *parts)
    return errors


def test_too_few_images_teach_nothing(call, map_folder, drive, weights):
    options = ["--data", drive, "--map", map_folder, "--weights", weights, "--rows", f":{FEWEST - 1}"]
    refuse(call, *options, parts=[f"{FEWEST - 1} images", f"at least {FEWEST}"])
    assert not (map_folder / FILE).exists()


def test_another_area_teaches_nothing_and_leaves_what_was_there(call, map_folder, drive, weights, tmp_path):
    elsewhere = shutil.copytree(drive, tmp_path / "elsewhere")
    table = elsewhere / "images.csv"
    table.write_text(table.read_text().replace(",5.0", ",6.0"))  # 70 km away
    (map_folder / FILE).write_text("of before")
    options = ["--data", elsewhere, "--map", map_folder, "--weights", weights]
    refuse(call, *options, parts=[elsewhere, f"none of {PLACES} answers", "25 m", "is it this area?"])
    assert (map_folder / FILE).read_text() == "of before"


def test_a_map_of_other_weights_is_refused(call, map_folder, drive, other_weights):
    options = ["--data", drive, "--map", map_folder, "--weights", other_weights]
    refuse(call, *options, parts=["built with other weights"])


def test_no_map_and_no_drive(call, map_folder, drive, weights, tmp_path):
    missing = tmp_path / "missing"
    refuse(call, "--data", drive, "--map", missing, "--weights", weights, parts=[missing, "not a map"])
    refuse(call, "--data", missing, "--map", map_folder, "--weights", weights, parts=[missing])


@pytest.mark.parametrize(
    ("option", "value"), [("--radius", 0), ("--radius", -1), ("--view-std", 0), ("--max-speed", 0)]
)
def test_numbers_that_cannot_be(call, map_folder, drive, weights, option, value):
    options = ["--data", drive, "--map", map_folder, "--weights", weights, option, value]
    errors = refuse(call, *options, parts=["expected a finite, positive number"])
    assert "encoding" not in errors  # before the work


@pytest.mark.parametrize("value", [0, -3])
def test_to_retrieve_nothing_teaches_nothing(call, map_folder, drive, weights, value):
    options = ["--data", drive, "--map", map_folder, "--weights", weights, "--k", value]
    refuse(call, *options, parts=[f"--k {value}", "at least 1"])


def test_help_names_every_option(call):
    status, output, _ = call(calibrate, "--help")
    assert status == 0
    for name in ("data", "map", "weights", "truth", "radius", "view_std", "max_speed", "odometry_topic"):
        assert f"--{name}" in output


def test_what_is_written_is_json(call, map_folder, drive, weights):
    call(calibrate, "--data", drive, "--map", map_folder, "--weights", weights)
    read = json.loads((map_folder / FILE).read_text())
    assert read["drive"] == str(drive)
    assert read["single"]["steps"]
    assert read["filtered"]["steps"]
