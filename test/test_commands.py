"""The commands: what they write and print, and one line with exit status 2 for bad input."""

import functools
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from test.as_command import ENVIRONMENT, ROOT, check_refusal, script
from test.conftest import DATUM, texture, write_image_folder
from training.build_map import build_map
from training.evaluate import NS, evaluate
from vpr_ros.command import run
from vpr_ros.drives.bag_writer import DriveWriter
from vpr_ros.errors import InputError
from vpr_ros.geodesy import to_geodetic
from vpr_ros.images.pixels import compress
from vpr_ros.place_map import open_map


@pytest.fixture(autouse=True, scope="module")
def _loading_once():
    """Load each weights file once in this process: these tests are about what is done with it."""
    from vpr_ros import open_engine

    once = functools.cache(open_engine.load_encoder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_engine, "load_encoder", once)
        yield


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """Twelve images, 30 m apart, of two sessions in turn."""
    return write_image_folder(tmp_path_factory.mktemp("data") / "walk", 12, sessions=("even", "odd"))


@pytest.fixture(scope="module")
def built(walk, weights, tmp_path_factory):
    """A map of them; only to be read."""
    folder = tmp_path_factory.mktemp("maps") / "map"
    build_map(walk, folder, weights)
    return folder


# --- as real processes


def test_build_then_evaluate_from_elsewhere(tmp_path, walk, weights):
    done = script("build_map.py", "--data", walk, "--out", "map", "--weights", weights, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "map: 12 places of 12 images\n"
    assert [file.name for file in tmp_path.iterdir()] == ["map"]
    options = ["--map", "map", "--data", walk, "--weights", weights, "--json", "figures.json"]
    done = script("evaluate.py", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "12 queries, 12 places, 25 m; 0 unmapped" in done.stdout
    (figures,) = json.loads((tmp_path / "figures.json").read_text())
    expected = {f"recall@{n}": 1.0 for n in NS}
    expected |= {"map": "map", "weights": str(weights), "radius": 25.0, "queries": 12, "unmapped": 0}
    # 4 clusters of 256 channels in a flat index
    expected |= {"places": 12, "dimension": 1024, "bytes_a_place": pytest.approx(4096, rel=0.01)}
    assert 0 < figures.pop("encode_ms") < 60_000
    assert 0 < figures.pop("search_ms") < 60_000
    assert figures == expected


def test_bad_input_of_a_real_process(tmp_path, weights):
    done = script("build_map.py", "--data", "missing", "--out", "map", "--weights", weights, cwd=tmp_path)
    check_refusal(done.returncode, done.stdout, done.stderr, "missing: no such folder")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_the_old_map_and_says_how_to_go_on(tmp_path, built, walk, weights):
    shutil.copytree(built, tmp_path / "map")
    before = {file.name: file.read_bytes() for file in (tmp_path / "map").iterdir() if file.is_file()}
    # one long table of the same few images
    shutil.copytree(walk, tmp_path / "long")
    head, *lines = (tmp_path / "long" / "images.csv").read_text().splitlines()
    (tmp_path / "long" / "images.csv").write_text("\n".join([head, *(lines * 4000)]) + "\n")
    options = ["--data", "long", "--out", "map", "--weights", str(weights)]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "training" / "build_map.py"), *options],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        said = b""
        while not re.search(rb"building map:[^\r]*\| (2[6-9]|[3-9])\d\d/48000 \[[^\r]*image/s", said):
            piece = os.read(process.stderr.fileno(), 1000)
            assert piece, said
            said += piece
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, errors
    assert b"Traceback" not in errors
    assert re.search(rb"\.map\.building: [1-9]\d* of 48000 images are encoded: the same command", errors)
    assert errors.endswith(b"interrupted\n")
    assert output == b""
    assert before == {f.name: f.read_bytes() for f in (tmp_path / "map").iterdir() if f.is_file()}
    assert len(open_map(tmp_path / "map")) == 12
    assert sorted(file.name for file in tmp_path.iterdir()) == [".map.building", "long", "map"]


# --- options


def test_options_with_hyphens_underscores_and_equals(call, tmp_path, walk, weights):
    for name, option in (
        ("a", ["--geotag-std", "3.5"]),
        ("b", ["--geotag_std=3.5"]),
        ("c", ["--geotag-std=3.5"]),
    ):
        out = tmp_path / f"my-map_{name}"  # a value keeps its hyphens
        status, output, errors = call(
            build_map, f"--data={walk}", f"--out={out}", "--weights", weights, *option
        )
        assert status == 0, errors
        assert f"{out}: 12 places" in output
        assert open_map(out).geotag_std == 3.5


def test_a_whole_number_is_as_good_as_a_fraction(call, tmp_path, walk, weights):
    options = ["--data", walk, "--out", tmp_path / "map", "--weights", weights, "--geotag-std", "3"]
    assert call(build_map, *options)[0] == 0
    assert open_map(tmp_path / "map").geotag_std == 3.0


def test_a_config_file_and_what_overrides_it(call, tmp_path, walk, weights):
    config = tmp_path / "build.yaml"
    config.write_text(f"data: {walk}\nweights: {weights}\nsession: odd\ngeotag_std: 7.5\npictures: false\n")
    status, _, errors = call(build_map, "--config", config, "--out", tmp_path / "map")
    assert status == 0, errors
    opened = open_map(tmp_path / "map")
    assert (len(opened), opened.geotag_std, opened.image(0)) == (6, 7.5, None)
    assert set(opened.rows()["session"]) == {"odd"}
    call(build_map, "--config", config, "--out", tmp_path / "map", "--geotag-std", 1.5)
    assert open_map(tmp_path / "map").geotag_std == 1.5


def test_help_names_every_option_and_says_what_it_is(call):
    for function in (build_map, evaluate):
        status, output, _ = call(function, "--help")
        assert status == 0
        for name in ("data", "weights", "session", "image_topic", "fix_topic", "spacing", "device"):
            assert f"--{name}" in output
        assert "Only the images of this session" in output


@pytest.mark.parametrize("wrong", [["--nonsense", "1"], ["--geotag-std", "wide"], []])
def test_options_that_cannot_be(call, tmp_path, wrong):
    status, _, errors = call(build_map, *(["--out", tmp_path / "map", *wrong]))
    assert status == 2
    assert "Traceback" not in errors
    assert "error:" in errors


@dataclass(frozen=True)
class Inner:
    """What stands for the groups of train.py's options."""

    far_away: float = 1.0
    turned_on: bool = False
    name: str = "a-b"


def nested(inner: Inner = Inner(), really: bool = False, out: str = ""):
    print(inner.far_away, inner.turned_on, inner.name, really, out)


@pytest.mark.parametrize(
    ("options", "printed"),
    [
        ([], "1.0 False a-b False "),
        (["--really"], "1.0 False a-b True "),
        (["--really", "--out", "x"], "1.0 False a-b True x"),
        (["--out", "x", "--really"], "1.0 False a-b True x"),
        (["--really", "false", "--out=x"], "1.0 False a-b False x"),
        (["--really=false"], "1.0 False a-b False "),
        (["--inner.turned-on", "--really"], "1.0 True a-b True "),
        (["--inner.turned_on", "--inner.far-away", "-3"], "-3.0 True a-b False "),
        (["--inner.far-away=2.5", "--inner.turned-on", "false"], "2.5 False a-b False "),
        (["--inner.name", "--really"], None),
        (["--inner.name", "c-d", "--out", "my-run"], "1.0 False c-d False my-run"),
        (["--inner.nothing", "1"], None),
    ],
)
def test_nested_options_and_flags_without_a_value(call, options, printed):
    status, output, errors = call(nested, *options)
    if printed is None:
        assert status == 2
        assert "error:" in errors
        assert "Traceback" not in errors
    else:
        assert (status, output) == (0, printed + "\n"), errors


def test_nested_options_in_a_config_file(call, tmp_path):
    config = tmp_path / "options.yaml"
    config.write_text("inner: {far_away: 4, turned_on: true}\nout: y\n")
    assert call(nested, "--config", config)[1] == "4.0 True a-b False y\n"
    # what is named after it wins; the rest of the group stays as the file has it
    line = ["--config", config, "--inner.far-away", "5", "--really"]
    assert call(nested, *line)[1] == "5.0 True a-b True y\n"


# --- what is built


def test_a_session_alone(tmp_path, walk, weights, capsys):
    build_map(walk, tmp_path / "map", weights, session="even")
    opened = open_map(tmp_path / "map")
    assert opened.rows()["image"].tolist() == [f"{n:03d}.png" for n in range(0, 12, 2)]
    # the other session lies 30 m from it: beyond the radius nothing, within 31 m everything is mapped
    with pytest.raises(InputError, match="no query within 25 m"):
        evaluate(tmp_path / "map", walk, weights, session="odd")
    (figures,) = evaluate(tmp_path / "map", walk, weights, session="odd", radius=31.0)
    assert (figures["queries"], figures["unmapped"], figures["places"]) == (6, 0, 6)
    assert figures["recall@10"] == 1.0


def test_several_sources(call, tmp_path, walk, weights):
    more = write_image_folder(tmp_path / "more", 3, first=40)
    options = ["--data", f"[{walk},{more}]", "--out", tmp_path / "map", "--weights", weights]
    status, output, errors = call(build_map, *options)
    assert status == 0, errors
    assert "15 places of 15 images" in output
    opened = open_map(tmp_path / "map")
    assert opened.rows()["image"].tolist()[-3:] == ["040.png", "041.png", "042.png"]
    # the picture of a place is that of its own source
    assert np.abs(opened.image(13).astype(int) - texture(41)).mean() < 10
    (figures,) = evaluate(tmp_path / "map", more, weights)
    assert (figures["recall@1"], figures["queries"], figures["places"]) == (1.0, 3, 15)


def test_queries_off_the_map_are_left_out_and_counted(tmp_path, built, weights, capsys):
    ahead = write_image_folder(tmp_path / "ahead", 6, first=9)  # three of them beyond the last place
    (figures,) = evaluate(built, ahead, weights)
    assert (figures["queries"], figures["unmapped"], figures["recall@1"]) == (3, 3, 1.0)
    assert "3 queries, 12 places, 25 m; 3 unmapped" in capsys.readouterr().out


def test_a_bag_is_built_and_evaluated(tmp_path, weights):
    with DriveWriter(tmp_path / "drive") as writer:
        for second in range(8):
            where = to_geodetic([10.0 * second, 0.0, 0.0], DATUM)
            writer.fix("/gps/fix", (second + 1) * 10**9, where, 1.0)
            writer.image((second + 1) * 10**9, compress(texture(second), ".png"), "png")
    build_map(tmp_path / "drive", tmp_path / "map", weights, spacing=15.0)
    assert len(open_map(tmp_path / "map")) == 4
    (figures,) = evaluate(tmp_path / "map", tmp_path / "drive", weights, radius=5.0)
    assert (figures["queries"], figures["unmapped"], figures["recall@1"]) == (4, 4, 1.0)


def test_an_image_of_an_impossible_shape_is_left_out_by_name(tmp_path, weights, caplog):
    folder = write_image_folder(tmp_path / "walk", 4)
    (folder / "002.png").write_bytes(compress(texture(0, 20, 2000), ".png"))
    build_map(folder, tmp_path / "map", weights)
    assert len(open_map(tmp_path / "map")) == 3
    assert "002.png" in caplog.text


def test_a_full_disk_is_told_in_one_line_and_the_old_map_stays(tmp_path, built, walk, weights):
    shutil.copytree(built, tmp_path / "map")
    options = f"--data {walk} --out map --weights {weights} --pictures false"
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 8; exec {sys.executable} {ROOT}/training/build_map.py {options}"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error:")
    assert [file.name for file in tmp_path.iterdir()] == ["map"]
    assert len(open_map(tmp_path / "map")) == 12


def test_an_image_that_does_not_decode_is_left_out(tmp_path, weights, caplog, capsys):
    folder = write_image_folder(tmp_path / "walk", 20)
    (folder / "003.png").write_bytes(b"not a picture")
    (folder / "017.png").unlink()
    build_map(folder, tmp_path / "map", weights)
    assert "18 places of 20 images" in capsys.readouterr().out
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert "003.png" in warnings[0]
    assert "017.png" in warnings[1]
    opened = open_map(tmp_path / "map")
    assert opened.rows()["image"].tolist() == [f"{n:03d}.png" for n in range(20) if n not in (3, 17)]
    # descriptors, rows and pictures did not slip against each other
    for place in (2, 3, 15, 16, 17):
        number = int(opened.rows()["image"][place][:3])
        assert np.abs(opened.image(place).astype(int) - texture(number)).mean() < 10
    (folder / "003.png").write_bytes(compress(texture(3), ".png"))
    (figures,) = evaluate(tmp_path / "map", folder, weights, radius=1.0)
    # the lost place is off the map; the lost image, too, as its place is
    assert (figures["queries"], figures["unmapped"], figures["recall@1"]) == (18, 2, 1.0)


def test_a_query_that_does_not_decode_is_no_hit(tmp_path, built, walk, weights):
    folder = write_image_folder(tmp_path / "walk", 12)
    (folder / "003.png").write_bytes(b"not a picture")
    (figures,) = evaluate(built, folder, weights)
    assert (figures["queries"], figures["recall@25"]) == (12, pytest.approx(11 / 12))


def test_images_of_which_none_decodes(call, tmp_path, weights):
    folder = write_image_folder(tmp_path / "walk", 3)
    for file in folder.glob("*.png"):
        file.write_bytes(b"not a picture")
    options = ["--data", folder, "--out", tmp_path / "map", "--weights", weights]
    check_refusal(*call(build_map, *options), "no place")
    assert not (tmp_path / "map").exists()


# --- refusals


def test_missing_and_empty_folders(call, tmp_path, weights):
    options = ["--out", tmp_path / "map", "--weights", weights, "--data"]
    check_refusal(*call(build_map, *options, tmp_path / "none"), tmp_path / "none")
    (tmp_path / "empty").mkdir()
    check_refusal(*call(build_map, *options, tmp_path / "empty"), tmp_path / "empty", "no images")
    (tmp_path / "file.txt").write_text("x")
    check_refusal(*call(build_map, *options, tmp_path / "file.txt"), tmp_path / "file.txt")


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("latitude", "breite", ["images.csv", "no column 'latitude'"]),
        ("image,", "picture,", ["images.csv", "no column 'image'"]),
        ("\n000.png,52.0", "\n000.png,91.0", ["images.csv", "latitude 91", "000.png", "-90 to 90"]),
        ("\n000.png,52.0", "\n000.png,north", ["images.csv", "latitude"]),
        ("000.png", "../000.png", ["images.csv", "outside"]),
    ],
)
def test_a_table_that_cannot_be(call, tmp_path, weights, old, new, parts):
    folder = write_image_folder(tmp_path / "walk", 2)
    text = (folder / "images.csv").read_text()
    assert old in text
    (folder / "images.csv").write_text(text.replace(old, new))
    options = ["--data", folder, "--out", tmp_path / "map", "--weights", weights]
    check_refusal(*call(build_map, *options), *parts)
    assert not (tmp_path / "map").exists()


def test_weights_of_another_kind(call, tmp_path, walk):
    import torch
    from safetensors.torch import save_file

    save_file({"features.0.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("weights")
    for name in ("other.safetensors", "text.safetensors", "none.safetensors"):
        options = ["--data", walk, "--out", tmp_path / "map", "--weights", tmp_path / name]
        check_refusal(*call(build_map, *options), tmp_path / name)
    assert not (tmp_path / "map").exists()


def test_a_map_of_other_weights(call, walk, built, other_weights):
    options = ["--map", built, "--data", walk, "--weights", other_weights]
    check_refusal(*call(evaluate, *options), built, "other weights")


def test_an_unknown_session(call, tmp_path, walk, weights):
    options = ["--data", walk, "--weights", weights, "--session", "night"]
    check_refusal(*call(build_map, "--out", tmp_path / "map", *options), "'night'", "even, odd")


def test_a_map_that_is_none(call, tmp_path, walk, weights):
    options = ["--data", walk, "--weights", weights, "--map", tmp_path / "none"]
    check_refusal(*call(evaluate, *options), tmp_path / "none", "not a map")


def test_what_is_not_a_map_is_refused_before_the_work(call, tmp_path, walk, weights):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years")
    options = ["--data", walk, "--weights", weights, "--out", tmp_path / "home"]
    status, output, errors = call(build_map, *options)
    check_refusal(status, output, errors, "not a map")
    assert "building map" not in errors


@pytest.mark.parametrize(
    "option",
    [
        ["--geotag-std", "0"],
        ["--geotag-std", "-1"],
        ["--geotag-std", ".nan"],
        ["--geotag-std", ".inf"],
        ["--device", "abacus"],
    ],
    ids=" ".join,
)
def test_a_value_out_of_range(call, tmp_path, walk, weights, option):
    options = ["--data", walk, "--weights", weights, "--out", tmp_path / "map"]
    check_refusal(*call(build_map, *options, *option))
    assert not (tmp_path / "map").exists()


@pytest.mark.parametrize("radius", ["-5", ".nan"])
def test_a_radius_that_cannot_be(call, walk, built, weights, radius):
    check_refusal(*call(evaluate, "--map", built, "--data", walk, "--weights", weights, "--radius", radius))


def test_figures_that_cannot_be_written_are_said(call, tmp_path, walk, built, weights):
    options = ["--map", built, "--data", walk, "--weights", weights, "--json", tmp_path / "none" / "f.json"]
    status, _, errors = call(evaluate, *options)
    assert status == 2
    assert "Traceback" not in errors
    assert f"{tmp_path / 'none' / 'f.json'}" in errors.splitlines()[-1]


def test_a_defect_is_not_hidden(monkeypatch):
    """Only bad input becomes one line: a mistake of the program keeps its traceback."""

    def broken():
        raise ValueError("a defect")

    monkeypatch.setattr(sys, "argv", ["command"])
    with pytest.raises(ValueError, match="a defect"):
        run(broken)
