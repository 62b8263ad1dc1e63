"""The heat map as a command: a column an image, a row a network, one scale; beside a place of a map."""

import cv2
import matplotlib
import numpy as np
import pytest

import training.heatmap
from test.as_command import check_refusal, script
from test.conftest import texture
from test.small_world import picture, small_map
from training.heatmap import heatmap
from vpr_ros.pages.heat_figure import Column, draw_heats
from vpr_ros.pages.heat_overlay import OPACITY
from vpr_ros.pages.occlusion import GREY, Heat, squares_on
from vpr_ros.place_map import open_map


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    for name, image in {
        "a.png": picture(3),
        "b.png": texture(1, 90, 64),
        "tiny.png": texture(2, 2, 3),
    }.items():
        cv2.imwrite(str(folder / name), image[..., ::-1])
    (folder / "broken.jpg").write_bytes(b"not a picture")
    cv2.imwrite(str(folder / "long.png"), np.zeros((10, 200, 3), np.uint8))
    return folder


@pytest.fixture(scope="module")
def place_map(tmp_path_factory, weights):
    return small_map(tmp_path_factory.mktemp("maps") / "map", weights)


@pytest.fixture
def drawn(monkeypatch):
    """What the command has drawn, instead of drawing it."""
    calls = []
    monkeypatch.setattr(
        training.heatmap, "draw_heats", lambda file, columns, meaning, signed: calls.append((columns, signed))
    )
    return calls


def test_a_row_a_network_and_a_column_an_image(tmp_path, photographs, weights, other_weights):
    images = [photographs / name for name in ("a.png", "b.png", "tiny.png")]
    ended = script(
        "heatmap.py",
        *(*images, "--weights", weights, "--weights", other_weights, "--device", "cpu"),
        cwd=tmp_path,
    )
    assert ended.returncode == 0, ended.stderr
    assert "heatmap.png: 2 x 3 heat maps" in ended.stdout
    assert "small: a square changes 0." in ended.stdout
    assert "other: a square changes 0." in ended.stdout
    assert cv2.imread(str(tmp_path / "heatmap.png")) is not None


def test_networks_are_told_apart(call, tmp_path, photographs, weights, drawn):
    same = tmp_path / "run" / weights.name
    same.parent.mkdir()
    same.write_bytes(weights.read_bytes())
    image = photographs / "b.png"
    status, _, errors = call(heatmap, "--images", image, "--weights", weights, same, "--device", "cpu")
    assert status == 0, errors
    ((columns, signed),) = drawn
    (column,) = columns
    assert not signed
    assert column.name == "b.png"
    assert np.array_equal(column.image, texture(1, 90, 64))
    assert list(column.heats) == [str(weights), str(same)]
    first, second = (heat.values for heat in column.heats.values())
    assert np.array_equal(first, second)


@pytest.mark.parametrize(("option", "place", "alike"), [((), 3, 1.0), (("--place", 7), 7, None)])
def test_an_image_beside_its_place(call, photographs, weights, place_map, drawn, option, place, alike):
    words = ["--images", photographs / "a.png", "--weights", weights, "--map", place_map, *option]
    status, _, errors = call(heatmap, *words, "--device", "cpu")
    assert status == 0, errors
    ((columns, signed),) = drawn
    query, kept = columns
    assert signed
    assert (query.name, np.array_equal(query.image, picture(3))) == ("a.png", True)
    assert kept.name.startswith(f"place {place}, similarity ")
    if alike is not None:
        assert float(kept.name.split()[-1]) == alike
        # nothing is more alike than the same
        assert query.heats["small"].values.min() > 0
    assert np.array_equal(kept.image, open_map(place_map).image(place))


def test_a_map_without_pictures_is_told_of_in_the_name(
    call, photographs, weights, place_map, drawn, monkeypatch
):
    monkeypatch.setattr("vpr_ros.place_map.PlaceMap.image", lambda *_: None)
    words = ["--images", photographs / "a.png", "--weights", weights, "--map", place_map]
    assert call(heatmap, *words, "--device", "cpu")[0] == 0
    (((column,), _),) = drawn
    assert column.name == "a.png: place 3, similarity 1.00"


def test_colours_mean_the_same_in_every_panel(tmp_path):
    squares = squares_on(120, 160)
    grey = np.full((120, 160, 3), GREY, np.uint8)
    shape = len(squares.tops), len(squares.lefts)
    columns = [
        Column(
            "$\\frac{$" * 9,
            grey,
            {network: Heat(squares, np.full(shape, value, np.float32)) for network, value in pair.items()},
        )
        for pair in ({"one": 1.0, "two": 2.0}, {"one": 3.0, "two": 4.0})
    ]
    draw_heats(tmp_path / "heat.png", columns, "change", signed=False)
    figure = cv2.imread(str(tmp_path / "heat.png"))[..., ::-1].astype(float)
    panels = []
    for value in (1, 2, 3, 4):
        colour = np.array(matplotlib.colormaps["turbo"](value / 4)[:3]) * 255
        near = np.abs(figure - (OPACITY * colour + (1 - OPACITY) * GREY)).max(axis=2) < 3
        assert near.sum() > 20_000
        panels.append(np.argwhere(near).mean(axis=0))
    (one, two), (three, four) = panels[:2], panels[2:]
    assert one[0] < two[0]
    assert three[0] < four[0]  # a row a network
    assert one[1] == pytest.approx(two[1], abs=2)
    assert one[1] < three[1]  # a column an image
    assert two[0] == pytest.approx(four[0], abs=2)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--images", "gone.jpg"], ["gone.jpg", "no such image"]),
        (["--images", "broken.jpg"], ["broken.jpg"]),
        (["--images", "long.png"], ["long.png", "200x10", "8 to 1"]),
        (["--images", "[]"], ["IMAGE"]),
        (["--images", "a.png", "--out", "heat.jpg"], ["heat.jpg", ".png"]),
        (["--images", "a.png", "--square", "241"], ["241", "to 240"]),
        (["--images", "a.png", "--place", "1"], ["--place 1", "--map"]),
        (["--images", "a.png", "--map", "MAP", "--place", "12"], ["--place 12", "0 to 11"]),
        (["--images", "a.png", "--map", "MAP", "--place=-1"], ["--place -1", "0 to 11"]),
        (["--images", "a.png", "--map", "MAP", "--weights", "OTHER"], ["MAP", "other weights"]),
        (["--images", "a.png", "--map", "MAP", "--weights", "WEIGHTS", "OTHER"], ["MAP", "one --weights"]),
        (["--images", "a.png", "--weights", "none.safetensors"], ["none.safetensors"]),
    ],
)
def test_what_cannot_be_is_refused(
    call, tmp_path, photographs, weights, other_weights, place_map, monkeypatch, words, told
):
    monkeypatch.chdir(photographs)
    names = {"MAP": place_map, "WEIGHTS": weights, "OTHER": other_weights}
    words = [names.get(word, word) for word in words]
    if "--weights" not in words:
        words += ["--weights", weights]
    if "--out" not in words:
        words += ["--out", tmp_path / "heat.png"]
    check_refusal(*call(heatmap, *words, "--device", "cpu"), *(names.get(part, part) for part in told))
    assert list(tmp_path.iterdir()) == []
