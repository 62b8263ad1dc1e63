"""The page of a map: what it says is what the places say, and nothing of a map is HTML."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest

from test.conftest import texture
from test.html_page import Page, check_stands_alone
from test.small_maps import in_a_row, rows_at, unit
from test.some_places import a_map
from test.test_report import EVIL, decoded
from vpr_ros.drives.sessions import sessions_of
from vpr_ros.geotagged import join_rows
from vpr_ros.images.pixels import compress
from vpr_ros.maps.survey import density, seen_both_ways, survey
from vpr_ros.maps.writer import InMemory, write_map
from vpr_ros.pages.map_page import DRAWN, write_map_page
from vpr_ros.pages.page import TEMPLATES
from vpr_ros.place_map import open_map

SCRIPT = (TEMPLATES / "map.js").read_text()
CHROMIUM = next(filter(shutil.which, ("chromium", "chromium-browser", "google-chrome")), None)


def opened(folder, rows, pictures=True):
    """Return a map of these rows; the picture of a place is the texture of its number."""
    source = InMemory(4)
    textures = [compress(texture(number)) for number in range(len(rows))] if pictures else ()
    source.add(unit(np.random.default_rng(0), len(rows), 4), rows, textures)
    write_map(folder, source, "f" * 64, 2.0, progress=False)
    return open_map(folder)


def page_of(tmp_path, place_map, name="town", **options):
    on = write_map_page(tmp_path / "map.html", place_map, name, **options)
    page = Page(tmp_path / "map.html")
    check_stands_alone(page, SCRIPT)
    return on, page, json.loads(page.scripts[0])


@pytest.fixture
def street():
    """A drive of 30 places, 4.8 m apart, without those from 15 to 24; another beside it, the other way."""
    there = rows_at(np.delete(in_a_row(40, step=4.8), slice(15, 25), axis=0), "monday")
    back = rows_at(in_a_row(10, step=4.8, north=8.0)[::-1], "tuesday", heading=270.0, start=9000)
    return join_rows([there, back])


def tile(page, name):
    """Return the value and the words of a tile."""
    return re.search(rf"\n{re.escape(name)}(\d[^\n]*|unknown)", page.text.replace("\u00a0", " ")).group(1)


# --- what it says


def test_the_gap_stands_where_the_places_are_missing(tmp_path, street):
    on, page, _ = page_of(tmp_path, opened(tmp_path / "map", street))
    assert (on.drawn, on.pictures, on.gaps) == (40, 40, 1)
    assert tile(page, "gaps").startswith("1the longest 52.8 m")
    before, after = (f"{row['latitude']:.6f} {row['longitude']:.6f}" for row in street[14:16])
    # half way along it nothing is nearer than its ends
    assert ["show", "52.8", "26.4", before, after, "1.0", "14, 15", "monday"] in page.rows
    (drawn,) = [attributes for tag, attributes in page.elements if attributes.get("id") == "gap-1"]
    ends = np.array(re.findall(r"[-\d.]+", drawn["d"]), float).reshape(2, 2)
    assert ends[1] - ends[0] == pytest.approx([52.8, 0.0], abs=0.03)
    assert "class" not in drawn


def test_a_gap_that_another_drive_fills_says_so(tmp_path, street):
    other = rows_at(in_a_row(16, step=4.0, east=68.0, north=3.0), "wednesday", start=90_000)
    place_map = opened(tmp_path / "map", join_rows([street, other]))
    _, page, _ = page_of(tmp_path, place_map)
    assert tile(page, "gaps") == "01 that other places fill"
    (drawn,) = [attributes for tag, attributes in page.elements if attributes.get("id") == "gap-1"]
    assert drawn["class"] == "filled"
    assert page_of(tmp_path, place_map, gap=20.0)[0].gaps == 0


def test_what_is_told_of_a_place_is_what_the_map_has(tmp_path, street):
    place_map = opened(tmp_path / "map", street)
    data = page_of(tmp_path, place_map)[2]
    assert data["place"] == list(range(40))
    for column in ("latitude", "longitude"):
        assert data[column] == pytest.approx(street[column].tolist(), abs=1e-7)
    assert data["heading"] == street["heading"].tolist()
    assert data["image"] == street["image"].tolist()
    assert [data["drives"][each] for each in data["drive"]] == street["session"].tolist()
    assert data["stamp"] == (street["stamp"] // 10**6).tolist()
    here = np.array([data["x"], data["y"]]).T
    assert np.diff(here[:15], axis=0) == pytest.approx(np.tile([4.8, 0.0], (14, 1)), abs=0.03)
    assert here[0, 1] - here[39, 1] == pytest.approx(8.0, abs=0.03)  # north is up, and y goes down
    apart = np.linalg.norm(here[:, None] - here, axis=2)
    assert data["near"] == (apart <= 25.0).sum(axis=1).tolist()
    for place in (0, 17, 39):
        kept = cv2.cvtColor(place_map.image(place), cv2.COLOR_RGB2BGR).astype(int)
        assert np.abs(decoded(data["pictures"][str(place)]).astype(int) - kept).mean() < 12


def test_every_place_is_a_dot_of_each_colouring(tmp_path, street):
    _, page, data = page_of(tmp_path, opened(tmp_path / "map", street))
    dots = [attributes["d"] for _, attributes in page.elements if (attributes.get("d") or "").endswith("h0")]
    places = sorted(f"{x:.2f} {y:.2f}" for x, y in zip(data["x"], data["y"]))
    found = [re.findall(r"M([^h]*)h0", each) for each in dots]
    assert [len(each) for each in found[:2]] == [30, 10]  # by drive
    assert sorted(found[0] + found[1]) == places
    assert sum(map(len, found)) == 4 * 40
    strokes = [attributes["stroke"] for _, attributes in page.elements if attributes.get("d") in dots]
    named = [attributes["style"] for _, attributes in page.elements if attributes.get("class") == "swatch"]
    assert named == [f"background: {colour}" for colour in strokes]
    for words in ("monday", "tuesday", "within 2\u00a0m of the line", "no neighbours", "east", "west"):
        assert f"\n{words}\n" in page.text
    assert "turned more than 45°\n" not in page.text  # none is


def test_positions_that_stand_out_are_counted(tmp_path):
    enu = in_a_row(30)
    enu[7, 1] = 8.0  # off the line
    enu[20] = enu[19]  # the receiver hangs
    heading = np.full(30, 90.0)
    heading[25] = 250.0
    _, page, data = page_of(tmp_path, opened(tmp_path / "map", rows_at(enu, heading=heading)))
    assert tile(page, "positions that stand out") == "3" + (
        "1 more than 6 m off the line of their neighbours; 1 exactly where the place before is; "
        "1 heading turned more than 45°"
    )
    assert data["off"][7] == pytest.approx(8.0, abs=0.02)
    assert data["off"][3] == pytest.approx(0.0, abs=0.02)
    assert data["off"][0] is None
    (row,) = (each for each in page.rows if each[0] == "a")
    assert row[:2] + row[3:6] == ["a", "30", "1970-01-01 00:00", "0:00:29", "10.00"]
    assert row[-3:] == ["1", "1", "1"]


@pytest.mark.parametrize("mounted", [0.0, 90.0, 180.0, -75.0])
def test_a_camera_may_look_anywhere_as_long_as_it_keeps_to_it(mounted):
    corner = np.concatenate([in_a_row(20), in_a_row(20)[:, [1, 0, 2]] + in_a_row(20)[-1]])
    travel = np.repeat([90.0, 0.0], 20)
    place_map = a_map(corner, headings=(travel + mounted) % 360)
    found = survey(place_map, sessions_of(place_map.places), 5.0)
    (drive,) = found.drives
    assert (drive.looks - mounted + 180) % 360 - 180 == pytest.approx(0.0, abs=3.0)
    assert not (found.turned[np.r_[:18, 22:40]] > 5).any()


def test_a_robot_that_stands_travels_nowhere():
    place_map = a_map(np.zeros((10, 3)), headings=np.arange(10) * 36.0)
    found = survey(place_map, sessions_of(place_map.places), 5.0)
    assert np.isnan(found.turned).all()
    assert np.isnan(found.drives[0].looks)
    assert found.still.tolist() == [False] + [True] * 9


def test_seen_both_ways():
    headings = [0.0, 180.0, 200.0, 90.0, 0.0, np.nan]
    place_map = a_map([[0, 0, 0], [20, 0, 0], [30, 0, 0], [0, 5, 0], [70, 0, 0], [0, 1, 0]], headings)
    assert seen_both_ways(place_map, np.arange(6)).tolist() == [True, True, False, False, False, False]
    assert density(place_map, np.array([0, 4])).tolist() == [4, 1]


# --- maps of all kinds


def test_a_map_without_pictures(tmp_path, street):
    on, page, data = page_of(tmp_path, opened(tmp_path / "map", street, pictures=False))
    assert (on.pictures, data["pictures"]) == (0, {})
    assert "No pictures are on this page." in page.text


def test_what_is_no_picture_is_not_shown(tmp_path, street):
    source = InMemory(4)
    texts = [b"<svg onload='alert(1)'>"] * 20 + [compress(texture(0))] * 20
    source.add(unit(np.random.default_rng(0), 40, 4), street, texts)
    write_map(tmp_path / "map", source, "f" * 64, 2.0, progress=False)
    _, _, data = page_of(tmp_path, open_map(tmp_path / "map"))
    assert sorted(map(int, data["pictures"])) == list(range(20, 40))


def test_a_few_pictures_are_spread_along_the_drives(tmp_path, street):
    _, page, data = page_of(tmp_path, opened(tmp_path / "map", street), pictures=5)
    assert sorted(map(int, data["pictures"])) == [0, 9, 19, 29, 39]
    assert "5 pictures are on this page, of 40 places; more with --pictures." in page.text


def test_a_map_of_one_place(tmp_path):
    on, page, data = page_of(tmp_path, opened(tmp_path / "map", rows_at([[3.0, 4.0, 0.0]], heading=np.nan)))
    assert (on.drawn, on.gaps, data["place"]) == (1, 0, [0])
    assert tile(page, "seen both ways").startswith("unknown")
    assert "one place alone" in page.text


def test_places_in_the_wrong_order_are_put_in_that_of_the_drive(tmp_path):
    rows = rows_at(in_a_row(12, step=5.0))[::-1]
    on, _, data = page_of(tmp_path, opened(tmp_path / "map", rows))
    assert on.gaps == 0
    assert data["place"] == list(range(12))[::-1]


def test_nothing_of_a_map_is_html(tmp_path):
    parts = [rows_at(in_a_row(5, step=5.0, north=9.0 * n), f"{n}{EVIL}", start=100 * n) for n in range(10)]
    rows = join_rows(parts)
    rows["image"][3] = EVIL
    rows["stamp"][7] += 10**12
    place_map = opened(tmp_path / "map", np.append(rows, rows_at([[400.0, 0, 0]], f"0{EVIL}", start=50)))
    _, page, data = page_of(tmp_path, place_map, name=EVIL)
    assert page.text.count(EVIL) >= 20  # title, legend, gap, drives
    assert data["drives"][0] == f"0{EVIL}"
    assert EVIL in data["image"]
    assert "<" not in page.scripts[0]
    assert {tag for tag, attributes in page.elements if "src" in attributes} == set()


class _Noise:
    """Pictures that no JPEG makes small."""

    def __init__(self):
        noise = np.random.default_rng(0).integers(0, 256, (180, 240, 3), np.uint8)
        self._jpeg = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()

    def read(self, place):
        return self._jpeg


def test_the_page_of_a_large_map_has_less_than_20_mb(tmp_path):
    angle = np.linspace(0, 60, DRAWN + 5000)
    enu = np.column_stack([30 * angle * np.cos(angle), 30 * angle * np.sin(angle), np.zeros_like(angle)])
    place_map = replace(a_map(enu, headings=np.degrees(angle) % 360), pictures=_Noise())
    on, page, data = page_of(tmp_path, place_map)
    assert (on.drawn, on.pictures) == (DRAWN, 500)
    assert f"{DRAWN} of {DRAWN + 5000} places are drawn" in page.text
    assert (tmp_path / "map.html").stat().st_size < 20e6
    assert max(after - before for before, after in pairwise(data["place"])) == 2  # evenly


def test_the_same_map_gives_the_same_bytes(tmp_path, street):
    place_map = opened(tmp_path / "map", street)
    for name in ("a.html", "b.html"):
        write_map_page(tmp_path / name, place_map, "town")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


# --- in a browser


def in_a_browser(file):
    """Return the page as it is after its scripts."""
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom")
    done = subprocess.run(
        [CHROMIUM, *options, f"--user-data-dir={file.parent / 'browser'}", file.resolve().as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    file.write_text(done.stdout)
    return Page(file)


def facts(page):
    """Return what is told of the place that was clicked."""
    return re.search(r"place(\d+)drive(.*?)image(.*?)position", page.text).groups()


@pytest.mark.skipif(CHROMIUM is None, reason="there is no browser here")
def test_its_script_runs(tmp_path, street):
    write_map_page(tmp_path / "map.html", opened(tmp_path / "map", street), "town")
    page = in_a_browser(tmp_path / "map.html")
    assert "Click a place" in page.text
    assert facts(page) == ("0", "monday", "monday/0.png")


@pytest.mark.skipif(CHROMIUM is None, reason="there is no browser here")
@pytest.mark.parametrize("zoomed", [False, True])
def test_a_click_tells_the_place_that_was_clicked(tmp_path, street, zoomed):
    _, _, data = page_of(tmp_path, opened(tmp_path / "map", street), pictures=5)
    file = tmp_path / "map.html"
    clicks = """
      const map = document.getElementById("map"), ground = document.getElementById("ground");
      map.setPointerCapture = () => {};
      if (ZOOMED) document.querySelector("a[data-gap]").click();
      setTimeout(() => {
        const [left, top, width] = ground.getAttribute("viewBox").split(" ").map(Number);
        const box = map.getBoundingClientRect();
        const clientX = box.left + (X + 1 - left) / width * box.width;
        const clientY = box.top + (Y + 1 - top) / width * box.width;
        for (const type of ["pointerdown", "pointerup"])
          map.dispatchEvent(new PointerEvent(type, { clientX, clientY }));
        document.getElementById("next").click();
      }, 500);"""
    for name, value in (("ZOOMED", zoomed), ("X", data["x"][16]), ("Y", data["y"][16])):
        clicks = re.sub(rf"\b{name}\b", json.dumps(value), clicks)
    # a copy in which a second script may run
    text = re.sub(r"; script-src '[^']*'", "; script-src 'unsafe-inline'", file.read_text())
    file.write_text(text.replace("</body>", f"<script>{clicks}</script></body>"))
    page = in_a_browser(file)
    assert facts(page) == ("17", "monday", "monday/17.png")
    assert "The picture is of place 19 of the drive, 9.6 m away" in page.text
    view = next(attributes["viewbox"] for _, attributes in page.elements if attributes.get("id") == "ground")
    assert (float(view.split()[2]) == pytest.approx(3 * 52.8, abs=0.1)) == zoomed
