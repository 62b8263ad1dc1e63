"""One way in for whatever a path holds."""

from pathlib import Path

import pytest

from test.conftest import write_image_folder
from test.error_lines import input_error
from vpr_ros import sources
from vpr_ros.drives.recording import open_recording
from vpr_ros.geodesy import Datum
from vpr_ros.sources import FORMATS, Source, parse_source, read_source, read_sources


@pytest.fixture
def folders(tmp_path):
    return [
        write_image_folder(tmp_path / "first", 4, sessions=("noon", "dusk")),
        write_image_folder(tmp_path / "second", 3, first=4, sessions=("night",)),
    ]


def test_a_folder_is_read_as_one(folders):
    images = read_source(folders[0])
    assert images.rows["image"].tolist() == ["000.png", "001.png", "002.png", "003.png"]
    assert images.read(3).shape == (72, 96, 3)


def test_one_path_or_several(folders):
    assert len(read_sources(folders[0])) == 4
    assert len(read_sources([folders[0]])) == 4
    both = read_sources(folders)
    assert both.rows["image"].tolist() == [f"{number:03d}.png" for number in range(7)]
    for row in (0, 3, 4, 6):
        one = read_source(folders[row // 4])
        assert (both.read(row) == one.read(row % 4)).all()


@pytest.mark.parametrize(
    ("session", "expected"), [("dusk", ["001.png", "003.png"]), ("night", ["004.png", "005.png", "006.png"])]
)
def test_one_session_of_several_folders(folders, session, expected):
    assert read_sources(folders, session=session).rows["image"].tolist() == expected


def test_a_session_that_is_not_there(folders):
    with input_error("'dawn'", "dusk, night, noon"):
        read_sources(folders, session="dawn")


def test_a_file_that_is_neither(tmp_path):
    (tmp_path / "drive.txt").write_text("none")
    with input_error(tmp_path / "drive.txt", ".mcap", "folder"):
        read_source(tmp_path / "drive.txt")


@pytest.mark.parametrize("name", ["gone", "gone.mcap", "gone.db3", "gone.bag"])
def test_a_path_that_is_not_there(tmp_path, name):
    with input_error(tmp_path / name, "no such", "expected"):
        read_source(tmp_path / name)


@pytest.mark.parametrize("name", ["drive.mcap", "drive.db3", "drive.bag"])
@pytest.mark.parametrize("content", [b"", b"no bag at all" * 99], ids=["empty", "garbage"])
def test_a_bag_that_is_none(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with input_error(tmp_path / name):
        read_source(tmp_path / name)


def test_options_reach_the_bag_and_only_the_bag(folders, tmp_path, monkeypatch):
    asked = []

    def read_bag(*arguments):
        asked.append(arguments)
        return read_source(folders[0])

    monkeypatch.setattr(sources, "read_bag", read_bag)
    (tmp_path / "drive.mcap").touch()
    options = {"image_topic": "/camera", "fix_topic": "/gps", "max_fix_gap": 3.0, "spacing": 4.0}
    joined = read_sources([tmp_path / "drive.mcap", folders[1]], **options)
    assert len(joined) == 7
    assert asked == [(tmp_path / "drive.mcap", "/camera", "/gps", 3.0, 4.0)]


def test_a_folder_with_a_bag_in_it_is_a_bag(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "read_bag", lambda path, *_: path)
    for name in ("metadata.yaml", "part_0.mcap", "part_0.db3"):
        folder = tmp_path / name.replace(".", "_")
        folder.mkdir()
        (folder / name).touch()
        assert read_source(folder) == folder


@pytest.mark.parametrize(
    ("rows", "left"), [("::2", [0, 2, 4]), ("1::2", [1, 3]), ("3:", [3, 4]), (":2", [0, 1])]
)
def test_some_rows(tmp_path, rows, left):
    folder = write_image_folder(tmp_path / "walk", 5)
    names = read_sources(folder, rows=rows).rows["image"].tolist()
    assert names == [f"{number:03d}.png" for number in left]


@pytest.mark.parametrize("rows", ["5", "a", "1:2:3:4", "::0", "9:", "1.5:"])
def test_rows_that_are_none(tmp_path, rows):
    folder = write_image_folder(tmp_path / "walk", 5)
    with input_error(f"rows '{rows}'"):
        read_sources(folder, rows=rows)


# --- formats that are named


def test_a_source_may_name_its_format_and_options(tmp_path):
    source = parse_source(Path(f"track,clock_offset=-2.5,file={tmp_path}/a.gpx:{tmp_path}/photos"))
    assert source == Source("track", {"clock_offset": -2.5, "file": tmp_path / "a.gpx"}, tmp_path / "photos")
    assert parse_source(Path("kitti,datum=49/8.4,heading=30:00")).options == {
        "datum": Datum(49, 8.4),
        "heading": 30.0,
    }
    assert parse_source(Path("msls:~/msls")).path == Path("~/msls").expanduser()


def test_a_path_with_a_colon_is_a_path_where_it_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_image_folder(tmp_path / "utm:walk", 2)
    assert parse_source(Path("utm:walk")) == Source("folder", {}, Path("utm:walk"))
    assert len(read_source(Path("utm:walk"))) == 2


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("mapillary:/data", ("no format 'mapillary'", "msls")),
        ("msls,datum=1/2:/data", ("msls,datum=1/2", "expected zone")),
        ("folder,zone=32U:/data", ("no such option", "none")),
        ("utm,zone=north:/data", ("utm,zone=north", "such as 32U")),
        ("utm,zone:/data", ("utm,zone", "''")),
        ("track,clock_offset=soon:/data", ("clock_offset=soon", "number")),
        ("kitti,datum=49:/data", ("datum '49'", "LATITUDE/LONGITUDE")),
    ],
)
def test_sources_that_say_something_wrong(text, parts):
    with input_error(*parts):
        parse_source(Path(text))


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("bag", "dbstruct")])
def test_every_format_refuses_a_folder_that_is_not_there_or_empty(tmp_path, name):
    options = ",datum=1/2" if name == "kitti" else ""
    for folder in (tmp_path / "gone", tmp_path):
        with input_error(folder):
            read_source(Path(f"{name}{options}:{folder}"))


def test_a_named_folder_is_read_by_commands_and_replayed(tmp_path):
    source = Path(f"folder:{write_image_folder(tmp_path / 'walk', 3)}")
    assert len(read_sources([source, source])) == 6
    recording = open_recording(source)
    assert [frame.image().shape for frame in recording.frames()] == [(72, 96, 3)] * 3
    assert all(b"\x89PNG" in frame.cdr() for frame in recording.frames())
