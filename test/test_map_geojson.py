"""GeoJSON as RFC 7946 has it: what any viewer reads."""

import json
import math

import numpy as np
import pytest

from test.small_maps import in_a_row, rows_at
from vpr_ros.geodesy import Datum
from vpr_ros.geotagged import join_rows, make_rows
from vpr_ros.maps.geojson import write_geojson


@pytest.fixture
def written(tmp_path):
    def written(rows, pictures=None):
        file = tmp_path / "map.geojson"
        write_geojson(file, rows, pictures or {})
        assert [each.name for each in tmp_path.iterdir()] == [file.name]
        read = json.loads(file.read_bytes().decode("ascii"), parse_constant=pytest.fail)
        check_rfc_7946(read)
        lines = [each for each in read["features"] if each["geometry"]["type"] != "Point"]
        return lines, [each for each in read["features"] if each not in lines]

    return written


def check_rfc_7946(read):
    assert set(read) == {"type", "features"}
    assert read["type"] == "FeatureCollection"
    for feature in read["features"]:
        assert set(feature) == {"type", "geometry", "properties"}
        assert feature["type"] == "Feature"
        assert isinstance(feature["properties"], dict)
        kind, coordinates = feature["geometry"]["type"], feature["geometry"]["coordinates"]
        lines = {"Point": [[coordinates]], "LineString": [coordinates], "MultiLineString": coordinates}[kind]
        for line in lines:
            assert kind == "Point" or len(line) >= 2
            for longitude, latitude in line:
                assert -180 <= longitude <= 180
                assert -90 <= latitude <= 90
                assert round(longitude, 7) == longitude
                assert round(latitude, 7) == latitude
            assert max(abs(a[0] - b[0]) for a, b in zip(line, line[1:] or line)) <= 180


def test_a_point_for_each_place_and_a_line_for_each_drive(written):
    first, second = rows_at(in_a_row(3), "go"), rows_at(in_a_row(2, north=5.0), "back", start=100)
    lines, points = written(join_rows([first, second]), {1: "pictures/000001.jpg"})
    assert [line["properties"]["session"] for line in lines] == ["go", "back"]
    assert [line["geometry"]["type"] for line in lines] == ["LineString"] * 2
    assert lines[0]["geometry"]["coordinates"] == [each["geometry"]["coordinates"] for each in points[:3]]
    assert lines[0]["properties"] == {
        "session": "go",
        "first": "1970-01-01T00:00:01.000Z",
        "last": "1970-01-01T00:00:03.000Z",
        "km": 0.02,
    }
    assert points[1]["geometry"]["coordinates"] == pytest.approx(first[["longitude", "latitude"]][1].tolist())
    assert points[1]["properties"] == {
        "place": 1,
        "session": "go",
        "stamp": "1970-01-01T00:00:02.000Z",
        "heading": 90.0,
        "altitude": 10.0,
        "picture": "pictures/000001.jpg",
    }
    assert "picture" not in points[2]["properties"]
    assert [each["properties"]["place"] for each in points] == [0, 1, 2, 3, 4]


def test_what_is_unknown_is_null(written):
    _, points = written(make_rows("test", latitude=[1], longitude=[2]))
    properties = points[0]["properties"]
    assert {properties[name] for name in ("stamp", "heading", "altitude")} == {None}


def test_names_of_any_kind(written):
    name = 'Gießen "Süd" \\ 東京 \n\u2028'
    lines, points = written(rows_at(in_a_row(2), name))
    assert lines[0]["properties"]["session"] == points[0]["properties"]["session"] == name


def test_a_place_alone_has_no_line_and_a_gap_parts_one(written):
    alone = rows_at(in_a_row(1, north=900.0), "alone")
    parted = np.concatenate([in_a_row(4), in_a_row(4, east=999.0), in_a_row(1, east=5000.0)])
    (line,), points = written(join_rows([alone, rows_at(parted, "parted")]))
    assert line["geometry"]["type"] == "MultiLineString"
    assert [len(each) for each in line["geometry"]["coordinates"]] == [4, 4]
    assert len(points) == 10


@pytest.mark.parametrize("eastwards", [True, False])
def test_a_drive_across_the_antimeridian_is_cut_there(written, eastwards):
    rows = rows_at(in_a_row(6, east=-25.0), datum=Datum(-16.0, 180.0))[:: 1 if eastwards else -1]
    rows["stamp"] = np.arange(6)
    rows["latitude"] = -16 + np.arange(6) * 1e-4
    (line,), _ = written(rows)
    first, second = line["geometry"]["coordinates"]
    assert line["geometry"]["type"] == "MultiLineString"
    assert (len(first), len(second)) == (4, 4)
    side = 180.0 if eastwards else -180.0
    assert (first[-1][0], second[0][0]) == (side, -side)
    assert first[-1][1] == second[0][1] == pytest.approx(-16 + 2.5e-4, abs=2e-6)
    assert all(math.copysign(1, longitude) == math.copysign(1, side) for longitude, _ in first)


@pytest.mark.parametrize("longitudes", [[180.0, -180.0, -179.9999], [179.9999, -180.0, -179.9999]])
def test_a_place_on_the_antimeridian_itself(written, longitudes):
    lines, _ = written(make_rows("test", latitude=[1, 1, 1], longitude=longitudes, stamp=[1, 2, 3]))
    ends = [end for line in lines[0]["geometry"]["coordinates"] for end in line]
    assert {abs(longitude) for longitude, _ in ends} <= {180.0, 179.9999}


def test_a_map_of_many_places_is_written_place_by_place(tmp_path):
    """A million places are 250 MB of GeoJSON: they are not gathered first."""
    import tracemalloc

    rows = rows_at(in_a_row(4000, 1.0))
    tracemalloc.start()
    write_geojson(tmp_path / "map.geojson", rows, {})
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2 * (tmp_path / "map.geojson").stat().st_size
