"""The commands about maps, as people call them: what they print, write, and refuse."""

import json
import shlex
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from test.as_command import check_refusal, script
from test.conftest import texture, write_image_folder
from test.html_page import Page
from test.small_maps import in_a_row, rows_at, some_map
from training import map as command
from training.build_map import build_map
from vpr_ros.command import run_one_of
from vpr_ros.files.atomic_folder import beside, replacing
from vpr_ros.geodesy import Datum
from vpr_ros.geotagged import join_rows
from vpr_ros.maps.manifest import DESCRIPTORS, INDEX, PICTURES, PLACES
from vpr_ros.maps.shards import Shards, building_folder
from vpr_ros.place_map import open_map


@pytest.fixture
def ask(monkeypatch, capsys, tmp_path):
    """Call the command in tmp_path with a line; return its status, output and error lines."""
    monkeypatch.chdir(tmp_path)

    def ask(line):
        monkeypatch.setattr(sys, "argv", ["map.py", *shlex.split(line)])
        capsys.readouterr()
        try:
            run_one_of(command.COMMANDS, "maps")
            status = 0
        except SystemExit as error:
            status = error.code or 0
        return status, *capsys.readouterr()

    return ask


@pytest.fixture
def city(tmp_path):
    """A map of three drives, with pictures and stored descriptors."""
    drives = [
        rows_at(in_a_row(20), "monday"),
        rows_at(in_a_row(20)[::-1], "monday back", heading=270.0, start=500),
        rows_at(in_a_row(10, north=200.0), "tuesday", start=90_000),
    ]
    some_map(tmp_path / "city", join_rows(drives), pictures=True, stored="int8")
    return tmp_path / "city"


def names(folder):
    return sorted(each.name for each in folder.iterdir())


def sessions(folder):
    """Return how many places of each session a map has; it is named from where the command was called."""
    return dict(sorted(Counter(open_map(Path(folder)).rows()["session"].tolist()).items()))


# --- looking


def test_info_says_what_a_map_is(ask, city):
    status, output, _ = ask("info city --json facts.json")
    assert status == 0
    facts = json.loads((city.parent / "facts.json").read_text())
    assert facts["places"] == 50
    assert facts["map"] == "city"
    assert facts["area"] == {
        "south": pytest.approx(52.0, abs=1e-6),
        "west": pytest.approx(5.0, abs=1e-6),
        "north": pytest.approx(52.0018, abs=1e-4),
        "east": pytest.approx(5.0028, abs=1e-4),
    }
    assert facts["extent_km"] == pytest.approx([0.19, 0.2], abs=1e-3)
    assert facts["sessions"][1] == {
        "session": "monday back",
        "places": 20,
        "km": pytest.approx(0.19, abs=1e-3),
        "first": "1970-01-01T00:08:20.000Z",
        "last": "1970-01-01T00:08:39.000Z",
    }
    assert facts["files"] == {each.name: each.stat().st_size for each in city.iterdir()}
    assert facts["bytes_a_place"] == pytest.approx(sum(facts["files"].values()) / 50, abs=0.1)
    assert (facts["geotag_std"], facts["spacing"]) == (2.0, pytest.approx(0, abs=1e-3))
    assert (facts["stored"], facts["pictures"], facts["calibration"]) == ("int8", True, None)
    for said in ("50 places", "bytes a place", "datum: 52.0", "known to 2 m", "Flat", "int8"):
        assert said in output
    for said in ("calibration: none", "pictures: kept", "monday back, 20 places, 0.19 km", "descriptors.npy"):
        assert said in output


def test_info_and_verify_name_what_is_left_and_who_writes(ask, city):
    beside(city, "partial").mkdir()
    building_folder(city).mkdir()
    for line in ("info city", "verify city"):
        status, output, _ = ask(line)
        assert status == 0
        assert ".city.partial: left by a writer that was killed" in output
        assert ".city.building: images that are encoded" in output
        assert "being written" not in output
    with replacing(city):
        assert "city: being written by" in ask("info city")[1]


def test_info_says_what_is_wrong_with_a_calibration(ask, city):
    (city / "calibration.json").write_text("{}")
    assert "calibration.json: damaged" in ask("info city")[1]


def test_verify_of_a_whole_map(ask, city):
    assert ask("verify city")[:2] == (0, "city: whole\n")
    (city / "calibration.json").write_text("{}")
    assert ask("verify city")[0] == 0


@pytest.mark.parametrize("name", [INDEX, PLACES, DESCRIPTORS, PICTURES])
@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_verify_names_the_file(ask, city, name, damage):
    data = bytearray((city / name).read_bytes())
    data[len(data) // 2] ^= 4
    (city / name).write_bytes(data if damage == "flipped" else data[:-1])
    if damage == "missing":
        (city / name).unlink()
    status, output, _ = ask("verify city")
    assert status == 1
    (line,) = output.splitlines()
    assert line.startswith(f"city: {name}: {'missing' if damage == 'missing' else 'damaged'}")


def test_verify_names_every_file_and_what_is_none_of_the_maps(ask, city):
    (city / PLACES).unlink()
    (city / DESCRIPTORS).write_bytes(b"")
    (city / "notes").mkdir()
    (city / "notes" / "todo.txt").write_text("buy milk")
    status, output, _ = ask("verify city")
    assert status == 1
    assert [line.split(": ")[1] for line in output.splitlines()] == [DESCRIPTORS, PLACES, "notes/todo.txt"]


def test_verify_of_a_damaged_manifest_and_of_none(ask, city):
    (city / "manifest.json").write_text("{")
    status, output, _ = ask("verify city")
    assert (status, len(output.splitlines())) == (1, 1)
    assert "manifest.json: damaged" in output
    check_refusal(*ask("verify nowhere"), "nowhere", "not a map")


# --- together


def test_merge(ask, city, tmp_path):
    some_map(tmp_path / "new", rows_at(in_a_row(20), "wednesday", start=180_000), 5)
    status, output, errors = ask("merge city new --out out")
    assert (status, output) == (0, "out: 70 places; left out: 0 superseded, 0 there already\n"), errors
    status, output, _ = ask("merge city new --out out --supersede 5")
    assert output == "out: 50 places; left out: 20 superseded, 0 there already\n"
    assert sessions("out") == {"monday back": 20, "tuesday": 10, "wednesday": 20}
    status, output, _ = ask("merge out city new --out out")
    assert output == "out: 70 places; left out: 0 superseded, 50 there already\n"
    assert ask("verify out")[0] == 0
    assert names(tmp_path) == ["city", "new", "out"]


def test_merge_says_that_a_session_has_another_name(ask, city, tmp_path):
    some_map(tmp_path / "new", rows_at(in_a_row(5, north=90.0), "monday", start=180_000))
    output = ask("merge city new --out city")[1]
    assert "session 'monday' was the name of an earlier one: it is 'monday (2)'" in output
    assert sessions("city")["monday (2)"] == 5


def test_a_damaged_map_does_not_get_into_another(ask, city, tmp_path):
    data = bytearray((city / PICTURES).read_bytes())
    data[3] ^= 4
    (city / PICTURES).write_bytes(data)
    some_map(tmp_path / "new", rows_at(in_a_row(5), "wednesday"))
    for line in ("merge new city", "thin city --metres 5", "extract city --box 0 0 60 60"):
        check_refusal(*ask(f"{line} --out out"), PICTURES, "damaged")
    assert names(tmp_path) == ["city", "new"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("merge city --out out", ["1 maps", "at least two"]),
        ("merge city nowhere --out new/out", ["nowhere", "not a map"]),
        ("add nowhere/map --data city", ["nowhere/map", "not a map"]),
        ("merge city city --out out --supersede 0", ["--supersede 0", "positive"]),
        ("merge city city --out out --supersede .nan", ["--supersede", "positive"]),
        ("merge city city --out home", ["home", "is not a map"]),
        ("thin city --out out --metres -1", ["--metres -1", "positive"]),
        ("extract city --out out --box 50 5 49 6", ["box 50 5 49 6", "south west north east"]),
        ("extract city --out out --box 10 5 11 6", ["city", "none of its 50 places lies in 10 5 11 6"]),
        ("drop city --out out --session friday", ["no session 'friday'", "monday, monday back, tuesday"]),
        ("drop city --out out --session *", ["city", "none of its 50 places is of another session"]),
        ("export city", ["--geojson", "--pictures"]),
        ("export city --pictures home", ["home", "not empty"]),
        ("info nowhere", ["nowhere", "not a map"]),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_nothing_is_written(ask, city, tmp_path, line, said):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    files = names(city)
    check_refusal(*ask(line), *said)
    assert names(tmp_path) == ["city", "home"]
    assert names(city) == files
    assert names(tmp_path / "home") == ["thesis.tex"]


# --- less of it


@pytest.mark.parametrize("box", ["52.001 4.9 52.003 5.1", "'[52.001, 4.9, 52.003, 5.1]'"])
def test_extract(ask, city, box):
    assert ask(f"extract city --out out --box {box}")[1] == "out: 10 of 50 places kept\n"
    assert sessions("out") == {"tuesday": 10}
    assert open_map(Path("out")).datum == open_map(city).datum


def test_extract_across_the_antimeridian(ask, tmp_path):
    some_map(tmp_path / "fiji", rows_at(in_a_row(20, 1000.0, -10_000.0), datum=Datum(-16.0, 180.0)))
    assert ask("extract fiji --out out --box -17 179.97 -15 -179.97")[1] == "out: 7 of 20 places kept\n"
    assert ask("extract fiji --out out --box -17 -180 -15 180")[1] == "out: 20 of 20 places kept\n"


def test_thin_by_session_and_direction(ask, city):
    assert ask("thin city --out out --metres 50")[1] == "out: 10 of 50 places kept\n"
    assert sessions("out") == {"monday": 4, "monday back": 4, "tuesday": 2}
    ask("thin city --out again --metres 50")
    first, second = open_map(Path("out")), open_map(Path("again"))
    assert first.rows().tolist() == second.rows().tolist()
    assert first.pictures.read(5) == second.pictures.read(5) == b"picture 0 25"
    assert ask("thin out --out out --metres 50")[1] == "out: 10 of 10 places kept\n"


@pytest.mark.parametrize(
    ("session", "left"),
    [
        ("monday", ["monday back", "tuesday"]),
        ("'monday*'", ["tuesday"]),
        ("monday tuesday", ["monday back"]),
        ("'*day'", ["monday back"]),
    ],
)
def test_drop(ask, city, session, left):
    status, _, errors = ask(f"drop city --session {session} --out out")
    assert status == 0, errors
    assert list(sessions("out")) == left


def test_drop_of_a_name_with_brackets(ask, city, tmp_path):
    some_map(tmp_path / "odd", join_rows([rows_at(in_a_row(2), "a[1]"), rows_at(in_a_row(2), "a1")]))
    ask("drop odd --session 'a[1]' --out out")
    assert list(sessions("out")) == ["a1"]


# --- out of it


def test_export(ask, city, tmp_path):
    status, output, _ = ask("export city --geojson gis/city.geojson --pictures gis/pictures")
    assert (status, output) == (0, "gis/pictures: 50 pictures of 50 places\ngis/city.geojson: 50 places\n")
    features = json.loads((tmp_path / "gis" / "city.geojson").read_text())["features"]
    assert len(features) == 53
    picture = features[3 + 17]["properties"]["picture"]
    assert picture == "pictures/000017.jpg"
    assert (tmp_path / "gis" / picture).read_bytes() == b"picture 0 17"
    assert "picture" not in ask("export city --geojson alone.geojson")[1]


# --- a new drive


@pytest.fixture
def town(tmp_path, weights):
    """A map of a real encoder: 6 places, 30 m apart."""
    build_map(write_image_folder(tmp_path / "walk", 6), tmp_path / "town", weights)
    return tmp_path / "town"


def test_add_a_drive(ask, town, tmp_path, weights):
    write_image_folder(tmp_path / "more", 5, step=30.5, first=4, sessions=("later",))
    status, output, errors = ask(f"add town --data more --weights {weights}")
    assert status == 0, errors
    assert output == "town: 11 places; left out: 0 superseded, 0 there already\n"
    opened = open_map(town)
    assert sessions("town") == {"walk": 6, "later": 5}
    for place, number in ((5, 5), (6, 4), (10, 8)):
        assert np.abs(opened.image(place).astype(int) - texture(number)).mean() < 10
    _, found = opened.search(opened.descriptors(np.array([6])), 2)
    assert set(found[0].tolist()) == {4, 6}  # the same texture
    assert names(tmp_path) == ["more", "town", "walk"]
    check_refusal(*ask(f"add town --data more --weights {weights}"), "has all 5 images of more already")
    assert len(open_map(town)) == 11


def test_add_supersedes_and_takes_only_what_is_new(ask, town, tmp_path, weights):
    folder = write_image_folder(tmp_path / "more", 5, step=30.5, first=4, sessions=("later",))
    output = ask(f"add town --data more --rows :2 --supersede 10 --weights {weights}")[1]
    assert output == "town: 6 places; left out: 2 superseded, 0 there already\n"
    output = ask(f"add town --data {folder} --weights {weights}")[1]
    assert "town: 9 places; left out: 0 superseded, 2 there already\n" in output


def test_an_interrupted_add_leaves_the_map_and_goes_on(ask, town, tmp_path, weights, monkeypatch):
    monkeypatch.setattr("vpr_ros.maps.shards.SHARD", 2)
    write_image_folder(tmp_path / "more", 6, first=14, sessions=("later",))
    before = {each.name: each.read_bytes() for each in town.iterdir()}
    write, written = Shards.write, []

    def interrupted(self, window, encoded):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(window)
        write(self, window, encoded)

    line = f"add town --data more --weights {weights}"
    with monkeypatch.context() as patch:
        patch.setattr(Shards, "write", interrupted)
        assert ask(line)[0] == 130
    assert {each.name: each.read_bytes() for each in town.iterdir()} == before
    assert building_folder(town).exists()
    again = []
    monkeypatch.setattr(Shards, "write", lambda self, *what: (again.append(what[0]), write(self, *what)))
    status, output, _ = ask(line)
    assert (status, output) == (0, "town: 12 places; left out: 0 superseded, 0 there already\n")
    assert len(again) == 1, "two of three were encoded before"
    assert names(tmp_path) == ["more", "town", "walk"]


def test_add_of_another_encoder_is_refused_before_the_work(ask, town, tmp_path, other_weights):
    status, output, errors = ask(f"add town --data nowhere --weights {other_weights}")
    check_refusal(status, output, errors, other_weights, "of other weights", "town")


# --- as a process


def test_as_a_process(tmp_path, city):
    done = script("map.py", "verify", "city", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "city: whole\n")
    done = script("map.py", "info", "nowhere", cwd=tmp_path)
    check_refusal(done.returncode, done.stdout, done.stderr, "nowhere", "not a map")


def test_help(ask):
    status, output, _ = ask("")
    assert status == 0
    for function in command.COMMANDS:
        assert function.__name__ in output
        status, described, _ = ask(f"{function.__name__} --help")
        assert status == 0
        assert "Folder" in described
    status, _, errors = ask("nonsense")
    assert status == 2
    assert "nonsense" in errors


# --- to look at


def test_a_page_of_a_map(ask, city):
    status, output, _ = ask("page city --out look/city.html --pictures 7")
    assert status == 0
    # the bytes that stand for pictures here are none
    assert output.startswith("look/city.html: 50 of 50 places, 0 pictures, 0 gaps, 0.")
    text = Page(city.parent / "look" / "city.html").text
    assert "Map city" in text
    assert "monday back" in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--pictures=-1", ["--pictures -1", "0 or more"]),
        ("--gap 1", ["--gap 1", "such as 5"]),
    ],
)
def test_a_page_that_cannot_be_is_refused(ask, city, words, told):
    check_refusal(*ask(f"page city {words}"), *told)
    assert not (city.parent / "map.html").exists()
