"""The gallery of queries: which are shown, and whether right is marked as right."""

import json
from dataclasses import replace

import numpy as np
import pytest

from test.as_command import check_refusal
from test.conftest import texture, write_image_folder
from test.html_page import Page, check_stands_alone
from test.small_maps import in_a_row, rows_at
from test.test_map_page import opened
from test.test_report import EVIL, decoded
from training.build_map import build_map
from training.evaluate import evaluate
from vpr_ros.errors import InputError
from vpr_ros.geotagged import GeotaggedImages, ground_distance, make_rows, within_radius
from vpr_ros.pages.gallery import Matching, chosen, write_gallery
from vpr_ros.pages.inline_picture import picture


@pytest.fixture
def place_map(tmp_path):
    """Forty places, 20 m apart, seen looking east."""
    return opened(tmp_path / "map", rows_at(in_a_row(40, step=20.0)))


def a_matching(place_map, offsets, positions=None, read=None, radius=25.0):
    """Return queries 2 m beside every second place, which retrieved the places so many further along."""
    positions = in_a_row(20, step=40.0, north=2.0) if positions is None else positions
    rows = rows_at(positions, "drive")
    places = [(2 * number + np.asarray(some, np.int64)) % 40 for number, some in enumerate(offsets)]
    alike = [0.9 - 0.01 * number - 0.1 * np.arange(len(each)) for number, each in enumerate(places)]
    images = GeotaggedImages(rows, read or (lambda row: texture(100 + row)))
    return Matching(images, places, alike, within_radius(rows, place_map.places, radius), radius)


def page_of(tmp_path, matching, place_map, most=60, title="drive on map"):
    count = write_gallery(tmp_path / "gallery.html", matching, place_map, title, most)
    page = Page(tmp_path / "gallery.html")
    check_stands_alone(page)
    assert sum(tag == "section" for tag, _ in page.elements) == count
    return page


def marks(page):
    """Return for each query that is shown which of its retrieved places are marked as right."""
    found = []
    for tag, attributes in page.elements:
        if tag == "section":
            found.append([])
        elif tag == "figure" and found and (attributes.get("class") or "").startswith("is-"):
            found[-1].append(attributes["class"] == "is-right")
    return found


def test_right_and_wrong_are_marked_as_they_are(tmp_path, place_map):
    offsets = [[(7 * number + 3 * rank) % 11 - 5 for rank in range(8)] for number in range(20)]
    matching = a_matching(place_map, offsets)
    page = page_of(tmp_path, matching, place_map)
    assert len(marks(page)) == 40  # every one under wrong or right, and once more
    shown = [row for _, rows in chosen(matching, 60).values() for row in rows]
    for row, marked in zip(shown, marks(page), strict=True):
        metres = ground_distance(matching.images.rows[row], place_map.places[matching.places[row][:5]])
        assert marked == (metres <= 25.0).tolist()
    assert page.text.count("✓") - 3 == sum(sum(each) for each in marks(page))
    right = [metres[0] for metres in (np.abs(np.array(each)) * 20 <= 25 for each in offsets)]
    assert f"first one right: {sum(right)}" in page.text
    assert f"of {sum(right) / 20:.1%}".replace("%", "\u00a0%") in page.text.replace("\n", " ")


def test_a_query_stands_beside_what_it_retrieved_and_what_was_there(tmp_path, place_map):
    page = page_of(tmp_path, a_matching(place_map, [[3, 1, 0]] + [[0]] * 19), place_map, most=3)
    sources = [attributes["src"] for tag, attributes in page.elements if tag == "img"][:5]
    expected = [texture(100), *(place_map.image(place) for place in (3, 1, 0, 0))]
    assert sources == [picture(lambda image=image: image, 240, 180) for image in expected]
    text = " ".join(page.text.split()).replace("\u00a0", " ")
    assert (
        "query 0 1 ✗ 60.0 m, turned 0°similarity 0.900place 3 2 ✓ 20.1 m, turned 0°similarity 0.800" in text
    )
    assert "nearest2.0 m, turned 0°place 0" in text
    assert "drive/0.png · drive · 52.0" in text


def test_the_surest_come_first_and_by_chance_fills_up(place_map):
    offsets = [[0] if number % 4 else [9] for number in range(20)]
    found = {name: rows for name, (_, rows) in chosen(a_matching(place_map, offsets), 12).items()}
    assert found["Wrong"] == [0, 4, 8, 12]
    assert found["Right"] == [1, 2, 3, 5]
    assert len(found["By chance"]) == 4
    assert found["By chance"] == sorted(set(found["By chance"]))
    matching = a_matching(place_map, [[9]] + [[0]] * 19)
    few = {name: rows for name, (_, rows) in chosen(matching, 12).items()}
    assert {name: len(rows) for name, rows in few.items()} == {"Wrong": 1, "Right": 4, "By chance": 7}
    assert few == {name: rows for name, (_, rows) in chosen(matching, 12).items()}


def test_the_queries_of_a_group_are_apart_where_there_are_enough(place_map):
    close = in_a_row(20, step=2.1)
    matching = a_matching(place_map, [[35 - 2 * number] for number in range(20)], close)
    assert chosen(matching, 9)["Wrong"][1] == [0, 5, 10]
    assert chosen(matching, 18)["Wrong"][1] == [0, 1, 2, 5, 10, 15]


def test_queries_beyond_the_map_and_without_an_answer_are_left_out(tmp_path, place_map):
    positions = in_a_row(20, step=40.0, north=2.0)
    positions[5, 1] = 400.0
    offsets = [[0]] * 20
    offsets[6] = []
    page = page_of(tmp_path, a_matching(place_map, offsets, positions), place_map)
    shown = {each.split("query")[1].split()[0] for each in page.text.split("place ") if "query" in each}
    assert not {"5", "6"} & shown
    text = " ".join(page.text.split()).replace("\u00a0", " ")
    assert "19 queries" in text
    assert "1 more have no place of the map within 25 m and are left out. 1 did not decode" in text
    assert "within 25 m of 94.7 % of them" in text


def test_a_gallery_without_queries_still_has_its_page(tmp_path, place_map):
    page = page_of(tmp_path, a_matching(place_map, [[]] * 20), place_map)
    assert page.text.count("None.") == 3


def test_what_does_not_decode_is_grey_and_nothing_is_html(tmp_path, place_map):
    def failing(row):
        raise InputError("does not decode")

    matching = a_matching(place_map, [[0, 9]] * 20, read=failing)
    named = make_rows(
        "test",
        image=[EVIL] * 20,
        session=[EVIL] * 20,
        latitude=matching.images.rows["latitude"],
        longitude=matching.images.rows["longitude"],
    )
    evil = replace(matching, images=GeotaggedImages(named, failing))
    page = page_of(tmp_path, evil, place_map, title=EVIL)
    assert page.text.count(EVIL) == 2 + 2 * len(marks(page))
    first = next(attributes["src"] for tag, attributes in page.elements if tag == "img")
    assert np.ptp(decoded(first)) <= 2


def test_evaluate_writes_it(tmp_path, weights, call):
    walk = write_image_folder(tmp_path / "walk", 12)
    build_map(walk, tmp_path / "map", weights)
    options = ("--map", tmp_path / "map", "--data", walk, "--weights", weights)
    asked = ("--gallery", tmp_path / "gallery.html", "--gallery-queries", 6)
    status, output, errors = call(evaluate, *options, *asked, "--json", tmp_path / "found.json")
    assert status == 0, errors
    assert "gallery.html: 6 queries" in output
    page = Page(tmp_path / "gallery.html")
    check_stands_alone(page)
    assert json.loads((tmp_path / "found.json").read_text())[0]["recall@1"] == 1.0
    # its own picture first, and of places 30 m apart no other within 25 m
    assert marks(page) == [[True, False, False, False, False]] * 6
    assert page.text.count("similarity 1.000") == 6


def test_one_of_each_position_keeps_its_similarity(tmp_path, weights, call):
    walk = write_image_folder(tmp_path / "walk", 12, step=0.0)
    build_map(walk, tmp_path / "map", weights)
    options = ("--map", tmp_path / "map", "--data", walk, "--weights", weights, "--views", 12)
    assert call(evaluate, *options, "--gallery", tmp_path / "gallery.html", "--gallery-queries", 3)[0] == 0
    page = Page(tmp_path / "gallery.html")
    assert marks(page) == [[True]] * 3
    assert page.text.count("similarity 1.000") == 3


def test_no_queries_at_all_are_refused(tmp_path, weights, call):
    options = ("--map", tmp_path, "--data", tmp_path, "--weights", weights, "--gallery-queries", 0)
    check_refusal(*call(evaluate, *options), "--gallery-queries 0", "at least 1")
