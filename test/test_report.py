"""The report of a drive: one page that stands alone, in which nothing of a recording is HTML."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from test.conftest import DATUM, texture
from test.html_page import Page, check_stands_alone
from test.some_answers import STEP, answer, some_drive, unanswered
from vpr_ros.errors import InputError
from vpr_ros.geodesy import to_geodetic
from vpr_ros.geotagged import GeotaggedImages, make_rows
from vpr_ros.images.pixels import compress
from vpr_ros.maps.writer import InMemory, write_map
from vpr_ros.pages.drive_picture import draw_drive
from vpr_ros.pages.inline_picture import HEIGHT, WIDTH, picture
from vpr_ros.pages.page import write_page
from vpr_ros.pages.report_tables import reasons, tiles
from vpr_ros.pages.worst_frames import look, worst
from vpr_ros.pages.worst_heat import worst_heat
from vpr_ros.place_map import open_map
from vpr_ros.replays.drive_metrics import summarise
from vpr_ros.replays.drive_run import Run
from vpr_ros.replays.frame_arrays import as_arrays
from vpr_ros.replays.requirement import parse_requirements
from vpr_ros.report import write_report

EVIL = "</td><script>alert('1')</script><img src=x onerror=alert(2)>\"'&amp;-->]]>$\\frac{$"


@pytest.fixture(scope="module")
def place_map(tmp_path_factory):
    """Forty places along the street; every third has no picture of its own size."""
    folder = tmp_path_factory.mktemp("maps") / "map"
    source = InMemory(2)
    geodetic = to_geodetic([[place * STEP, 0.0, 0.0] for place in range(40)], DATUM)
    rows = make_rows("test", latitude=geodetic[:, 0], longitude=geodetic[:, 1])
    pictures = [compress(texture(number)) for number in range(40)]
    source.add(np.eye(2, dtype=np.float32)[np.arange(40) % 2], rows, pictures)
    write_map(folder, source, "none", 1.0, DATUM, progress=False)
    return open_map(folder)


def drive_images(count=100, broken=()):
    def read(row):
        if row in broken:
            raise InputError(f"row {row} does not decode")
        return texture(row)

    return GeotaggedImages(np.zeros(count), read)


def report(file, place_map, answers, single=None, **more):
    write_report(
        file,
        Run("filtered", answers, summarise(answers)),
        None if single is None else Run("single image", single, summarise(single)),
        more.pop("images", drive_images(len(answers))),
        place_map,
        more.pop("title", "second on a map of first"),
        more.pop("commands", ["python -m vpr_ros.replay --data second"]),
        more.pop("facts", {"Versions": {"vpr_ros": "1.2.3"}}),
        **more,
    )
    return Page(file)


# --- the page


def test_a_page_with_everything_stands_alone(tmp_path, place_map):
    page = report(
        tmp_path / "report.html",
        place_map,
        some_drive(60),
        some_drive(60, seed=1),
        threshold=0.5,
        requirements=parse_requirements(["recall@1>=0.99", "answered>0"]),
    )
    check_stands_alone(page)
    for words in (
        "second on a map of first",
        "1 of 2 requirements not met: recall@1 is 0.",
        "single image",
        "superseded",
        "python -m vpr_ros.replay --data second",
        "1.2.3",
        "threshold 0.5",
        "Worst frames",
    ):
        assert words in page.text, words
    assert sum(tag == "svg" for tag, _ in page.elements) == 8
    assert sum(tag == "section" for tag, _ in page.elements) == 10


def test_the_figures_stand_side_by_side(tmp_path, place_map):
    good, bad = ([answer(n, place_m=[metres]) for n in range(20)] for metres in (1.0, 99.0))
    text = report(tmp_path / "report.html", place_map, good, bad).text
    row = text[text.index("recall@1 within 5") :].split("\n")[0]
    assert "100.0" in row
    assert row.index("100.0") < row.index("0.0\u00a0", row.index("100.0") + 5)
    assert "All requirements met" not in text


def test_met_requirements_are_told(tmp_path, place_map):
    page = report(
        tmp_path / "r.html", place_map, [answer(0)], requirements=parse_requirements(["answered>0.5"])
    )
    assert "All requirements met: answered > 0.5." in page.text


def test_nothing_of_a_recording_is_html_or_a_formula(tmp_path, place_map):
    answers = [
        replace(each, stages={EVIL: 0.001} | each.stages) if each.answered else each
        for each in some_drive(30)
    ]
    answers += [unanswered(30, EVIL), unanswered(31, "half a letter: \udcff")]
    write_report(
        tmp_path / "report.html",
        Run(EVIL, answers, summarise(answers)),
        Run("$\\frac{$", answers, summarise(answers)),
        drive_images(),
        place_map,
        EVIL,
        [EVIL],
        {EVIL: {EVIL: EVIL}},
    )
    page = Page(tmp_path / "report.html")
    check_stands_alone(page)
    assert page.text.count(EVIL) >= 8
    assert page.text.count("$\\frac{$") > page.text.count(EVIL)
    assert not any("script" in comment for comment in page.comments)


@pytest.mark.parametrize(
    "answers",
    [[], [answer(0)], [unanswered(n) for n in range(12)], [answer(n, accepted=False) for n in range(12)]],
    ids=["no frame", "one frame", "no answer", "no fix"],
)
def test_a_drive_with_nothing_to_show_still_has_its_page(tmp_path, place_map, answers):
    page = report(tmp_path / "report.html", place_map, answers)
    check_stands_alone(page)
    assert f"{len(answers)} frames in" in page.text


def test_a_thousand_frames_of_photographs_are_less_than_3_mb(tmp_path, place_map):
    draw = np.random.default_rng(0)
    noise = GeotaggedImages(np.zeros(1000), lambda row: draw.integers(0, 256, (480, 640, 3), np.uint8))
    drives = some_drive(1000), some_drive(1000, seed=1)
    report(tmp_path / "report.html", place_map, *drives, images=noise)
    assert (tmp_path / "report.html").stat().st_size < 3e6


def test_the_same_drive_gives_the_same_bytes(tmp_path, place_map):
    for name in ("a.html", "b.html"):
        report(tmp_path / name, place_map, some_drive(20))
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_a_page_takes_no_text_as_html(tmp_path):
    (tmp_path / "page.html").write_text("old")
    with pytest.raises(TypeError):
        write_page(tmp_path / "page.html", "page.html.j2", title=_Unwritable())
    assert (tmp_path / "page.html").read_text() == "old"
    write_page(tmp_path / "page.html", "page.html.j2", title=EVIL)
    assert "script" not in {tag for tag, _ in Page(tmp_path / "page.html").elements}


class _Unwritable:
    def __str__(self) -> str:
        raise TypeError


# --- the tables


def test_the_tiles_tell_the_figures():
    answers = [answer(0, 30.0, place_m=[30.0]), *(answer(n) for n in range(1, 9)), unanswered(9)]
    answers += [answer(10, at=5000.0, accepted=False), answer(11, at=5005.0)]
    found = {tile.name: tile for tile in tiles(summarise(answers))}
    assert found["recall@1 within 25 m"].value == "83.3 %"
    assert "of 12 frames on the map; 95 % interval" in found["recall@1 within 25 m"].below
    wrong = found["fixes more than 25 m off"]
    assert (wrong.value, wrong.bad) == ("1 of 10", True)
    waited = found["first right fix after"]
    assert (waited.value, waited.bad) == ("1.00 s", False)
    assert waited.below == "from the start of the drive; again after 1 of 1 kidnapping, within 1.00 s"


def test_a_robot_that_never_knows_is_told_so():
    found = {tile.name: tile for tile in tiles(summarise([answer(0, accepted=False)]))}
    assert (found["first right fix after"].value, found["first right fix after"].bad) == ("never", True)


def test_many_reasons_are_told_together():
    counted = {f"reason {n:02d}": n + 1 for n in range(30)}
    rows = reasons({"unanswered": counted, "in": 1000})
    assert rows[0] == ("reason 29", 30, "3.0 %")
    assert rows[-1] == ("10 other reasons", sum(range(1, 11)), "5.5 %")
    assert len(rows) == 21


# --- the worst frames


def test_wrong_fixes_come_first_then_what_the_map_knows_then_the_rest():
    answers = [
        answer(0, 10.0),
        answer(2, 200.0, accepted=False),
        answer(4, 30.0),
        answer(6, 500.0, accepted=False, mapped_m=90.0),
        answer(8, 26.0),
        answer(10, 600.0, accepted=True, mapped_m=90.0),
        unanswered(12),
    ]
    assert worst(as_arrays(answers)) == [5, 2, 4, 1, 0, 3]


def test_the_worst_frames_are_apart_where_there_are_enough():
    answers = [answer(number, 100.0 - number) for number in range(30)]
    frames = as_arrays(answers)
    assert worst(frames, count=4, apart=3.0) == [0, 3, 6, 9]
    assert worst(frames, count=4, apart=12.0) == [0, 1, 12, 24]


def test_a_look_names_what_was_retrieved_and_what_was_there(place_map):
    frames = as_arrays([answer(0, 3.0, at=61.0, places=(7, 2))])
    found = look(frames, 0, drive_images(), place_map)
    assert (found.row, found.retrieved, found.nearest) == (0, 7, 12)
    assert found.nearest_m == pytest.approx(1.0, abs=1e-3)
    assert found.pictures == tuple(
        picture(lambda image=image: image) for image in (texture(0), place_map.image(7), place_map.image(12))
    )


def decoded(uri):
    kind, _, data = uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)


def failing(error) -> Iterator[None]:
    raise error


@pytest.mark.parametrize(
    "read",
    [
        lambda: None,
        lambda: failing(InputError("does not decode")),
        lambda: failing(OSError("gone")),
        lambda: np.zeros((0, 9, 3), np.uint8),
    ],
)
def test_what_does_not_decode_is_grey(read):
    grey = decoded(picture(read))
    assert grey.shape == (HEIGHT, WIDTH, 3)
    assert np.ptp(grey) <= 2


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (480, 640), (10, 10)])
def test_pictures_are_small_whatever_their_shape(shape):
    height, width = decoded(picture(lambda: np.zeros((*shape, 3), np.uint8))).shape[:2]
    assert height <= HEIGHT
    assert width <= WIDTH


def test_a_small_picture_is_not_enlarged():
    assert decoded(picture(lambda: np.zeros((10, 12, 3), np.uint8))).shape == (10, 12, 3)


def test_pictures_keep_their_colours():
    red = np.full((40, 40, 3), (255, 0, 0), np.uint8)
    assert decoded(picture(lambda: red))[20, 20].tolist() == pytest.approx([0, 0, 255], abs=3)


class Halves:
    """Stands for an engine: how bright the two halves of an image are."""

    device = torch.device("cpu")

    def fit(self, image):
        return cv2.resize(image, (64, 48))

    def encode(self, images):
        bright = np.stack([[half.mean() for half in np.split(image, 2, axis=1)] for image in images])
        return (bright / np.linalg.norm(bright, axis=1, keepdims=True)).astype(np.float32)


def test_what_made_it_look_like_the_place_is_red_and_what_did_not_is_blue(place_map):
    # the place is bright on its left
    frames = as_arrays([answer(number, 30.0, places=(0,)) for number in (0, 1)] + [unanswered(2)])
    white = GeotaggedImages(np.zeros(3), lambda row: np.full((96, 128, 3), 255, np.uint8))
    looks = [look(frames, frame, white, place_map) for frame in range(3)]
    found = worst_heat(looks, white, place_map, Halves())
    first, second, none = map(decoded, found.pictures)
    assert 0.01 < found.largest < 0.5
    blue, _, red = np.split(first.astype(int), 3, axis=2)
    assert (red - blue)[48, 40] > 20
    assert (red - blue)[48, 88] < -20
    assert np.array_equal(first, second)
    assert np.ptp(none) <= 2  # nothing was retrieved


def test_an_image_that_does_not_decode_has_no_heat(place_map):
    frames = as_arrays([answer(number, 30.0, places=(0,)) for number in (0, 1)])
    images = drive_images(broken={0})
    looks = [look(frames, frame, images, place_map) for frame in (0, 1)]
    broken, whole = map(decoded, worst_heat(looks, images, place_map, Halves()).pictures)
    assert np.ptp(broken) <= 2
    assert np.ptp(whole) > 50


# --- the picture for a README


@pytest.mark.parametrize("count", [0, 1, 40])
def test_a_drive_in_one_picture(tmp_path, place_map, count):
    draw_drive(tmp_path / "drive.png", drive_images(broken={0, 3}), some_drive(count), place_map, EVIL)
    shape = cv2.imread(str(tmp_path / "drive.png")).shape
    assert shape == (924, 1430, 3)
