"""Mapillary Street-level Sequences, as their archives unpack."""

import logging
import shutil

import numpy as np
import pytest

from test.error_lines import input_error
from vpr_ros.drives.datasets.msls import read_msls
from vpr_ros.drives.datasets.utm_metres import parse_zone
from vpr_ros.geotagged import ground_distance
from vpr_ros.images.pixels import compress
from vpr_ros.sources import read_source

#: Two images 10 m apart in zone 32T, Zurich: degrees and metres of the same places.
EAST, NORTH = (465000.0, 465010.0), 5247000.0


def degrees(east):
    from vpr_ros.drives.datasets.utm_metres import to_degrees

    return to_degrees([east], [NORTH], parse_zone("32T"), "here", [""])[0].tolist()


def write_part(folder, keys=("a", "b", "c"), raw=True, utm=True):
    """Write one part; its images lie 10 m apart, the last is a panorama, frames are in falling order."""
    (folder / "images").mkdir(parents=True)
    tables = {
        "raw.csv": [",key,lon,lat,ca,captured_at,pano"],
        "postprocessed.csv": [",key,easting,northing,unique_cluster,control_panel,night,view_direction"],
        "seq_info.csv": [",key,sequence_key,frame_number"],
    }
    for number, key in enumerate(keys):
        east = EAST[0] + 10 * number
        latitude, longitude = degrees(east)
        pano = number == len(keys) - 1
        tables["raw.csv"].append(
            f"{number},{key},{longitude},{latitude},{350.5 + number},2016-05-0{number + 1},{pano}"
        )
        tables["postprocessed.csv"].append(f"{number},{key},{east},{NORTH},7,False,False,Forward")
        tables["seq_info.csv"].append(f"{number},{key},drive{number // 2},{len(keys) - number}")
        (folder / "images" / f"{key}.jpg").write_bytes(compress(np.full((4, 6, 3), number, np.uint8), ".png"))
    for name, lines in tables.items():
        if name == "seq_info.csv" or (raw if name == "raw.csv" else utm):
            (folder / name).write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def msls(tmp_path):
    root = tmp_path / "msls"
    for part in ("query", "database"):
        write_part(root / "train_val" / "zurich" / part)
    return root


def test_all_parts_of_all_cities(msls):
    images = read_source(msls)
    rows = images.rows
    assert rows["image"].tolist() == [
        f"train_val/zurich/{part}/images/{key}.jpg" for part in ("database", "query") for key in "ba"
    ]  # by frame
    assert set(rows["session"].tolist()) == {"zurich/database/drive0", "zurich/query/drive0"}
    assert rows["heading"][:2].tolist() == [351.5, 350.5]
    assert rows["stamp"][0] == 1462147200 * 10**9
    np.testing.assert_allclose(ground_distance(rows[0], rows[:2]), [0, 10], rtol=1e-3, atol=1e-9)
    assert images.read(0)[0, 0, 0] == 1


@pytest.mark.parametrize("below", ["train_val", "train_val/zurich", "train_val/zurich/query"])
def test_a_part_alone(msls, below):
    images = read_source(msls / below)
    assert len(images) == (2 if below.endswith("query") else 4)
    assert "zurich/query/drive0" in images.rows["session"].tolist()
    assert images.read(0).shape == (4, 6, 3)


def test_panoramas_are_left_out_and_told(msls, caplog):
    with caplog.at_level(logging.INFO):
        read_msls(msls / "train_val/zurich/query")
    assert "2 images, 1 panoramas left out" in caplog.text


def test_lines_belong_together_by_key(msls):
    file = msls / "train_val/zurich/query/raw.csv"
    head, *lines = file.read_text().splitlines()
    file.write_text("\n".join([head, *reversed(lines)]))
    rows = read_msls(file.parent).rows
    np.testing.assert_allclose(rows["latitude"], [degrees(EAST[1])[0], degrees(EAST[0])[0]])


def test_utm_where_there_are_no_degrees(tmp_path):
    part = write_part(tmp_path / "zurich" / "query", raw=False)
    with input_error(part, "raw.csv", "msls,zone="):
        read_msls(part)
    rows = read_msls(part, parse_zone("32T")).rows
    np.testing.assert_allclose(rows["latitude"][2], degrees(EAST[0])[0])
    assert np.isnan(rows["heading"]).all()


def test_test_cities_have_no_positions(msls, caplog):
    write_part(msls / "test" / "miami" / "query", raw=False, utm=False)
    assert len(read_msls(msls)) == 4
    assert "miami" in caplog.text
    shutil.rmtree(msls / "train_val")
    with input_error(msls, "test cities"):
        read_msls(msls)


def change(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("name", "old", "new", "parts"),
    [
        ("raw.csv", ",key,", ",name,", ("raw.csv", "'key'")),
        ("raw.csv", "0,a,", "0,z,", ("seq_info.csv", "'a'")),
        ("raw.csv", "350.5", "north", ("ca of 'a' is 'north'",)),
        ("raw.csv", ",lat,", ",latitude,", ("lat of 'a' is ''",)),
        ("seq_info.csv", "drive0,3", "drive0,x", ("frame_number of 'a'",)),
        ("seq_info.csv", ",a,", ",../a,", ("'../a'",)),
    ],
)
def test_damaged_tables(tmp_path, name, old, new, parts):
    part = write_part(tmp_path / "zurich" / "query")
    change(part / name, old, new)
    with input_error(part, *parts):
        read_msls(part)


def test_keys_do_not_lead_out_of_the_folder(tmp_path):
    part = write_part(tmp_path / "zurich" / "query", keys=("../../a", "b", "c"))
    with input_error(part, "outside the folder"):
        read_msls(part)


def test_tables_that_are_no_text(tmp_path):
    part = write_part(tmp_path / "zurich" / "query")
    (part / "raw.csv").write_bytes(b"\xff\xfe\x00")
    with input_error(part / "raw.csv", "UTF-8"):
        read_msls(part)


def test_nothing_there(tmp_path):
    with input_error(tmp_path, "seq_info.csv"):
        read_msls(tmp_path)
