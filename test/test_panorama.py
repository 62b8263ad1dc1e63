"""Panoramas as a source of views, and the command that writes these."""

import json
import logging
import subprocess
import sys
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest

from test.as_command import ENVIRONMENT, ROOT, check_refusal, script
from test.conftest import DATUM
from test.error_lines import input_error
from test.small_panorama import panorama as picture
from test.small_panorama import scene, view_directions, write_panoramas
from training.build_map import build_map
from training.data import check
from training.evaluate import evaluate
from training.panorama import panorama
from vpr_ros.drives.bag_writer import DriveWriter
from vpr_ros.drives.datasets.panorama import views_of
from vpr_ros.drives.recording import open_recording
from vpr_ros.geodesy import to_geodetic
from vpr_ros.geotagged import COLUMNS, GeotaggedImages
from vpr_ros.images.pixels import compress
from vpr_ros.place_map import open_map
from vpr_ros.sources import read_source
from vpr_ros.threads.ahead import ahead

FEW = "panorama,headings=0/90/200,pitches=0/20,fov=70,size=96x72"


@pytest.fixture(scope="module")
def ride(tmp_path_factory):
    """Four panoramas, the last one of an unknown heading; only to be read."""
    return write_panoramas(tmp_path_factory.mktemp("data") / "ride", [0, 350, 90, np.nan])


# --- the source


def test_a_row_for_each_view(ride):
    rows = read_source(Path(f"{FEW}:{ride}")).rows
    of = read_source(ride).rows
    assert len(rows) == 4 * 6
    for name in ("latitude", "longitude", "altitude", "stamp", "session"):
        assert (rows[name] == np.repeat(of[name], 6)).all()
    assert rows["heading"][:12].tolist() == [0, 90, 200] * 2 + [350, 80, 190] * 2
    assert np.isnan(rows["heading"][18:]).all()  # a view's is not known where the panorama's is not
    assert rows["image"][6:12].tolist() == [
        f"1.png_heading{heading}_pitch{pitch}" for pitch in (0, 20) for heading in (0, 90, 200)
    ]


def test_what_the_views_show(ride):
    images = read_source(Path(f"{FEW}:{ride}"))
    for row in (0, 9, 14, 23):
        number, pitch, heading = row // 6, (0, 20)[row % 6 // 3], (0, 90, 200)[row % 3]
        expected = scene(view_directions(96, 72, 70, heading, pitch), number)
        assert images.read(row).shape == (72, 96, 3)
        assert np.abs(images.read(row) - expected).mean() < 1.5


def test_those_of_pittsburgh_where_nothing_is_said(ride):
    images = read_source(Path(f"panorama:{ride}"))
    assert len(images) == 4 * 24
    assert images.rows["heading"][:24].tolist() == [*range(0, 360, 30)] * 2
    assert [images.rows["image"][row] for row in (1, 23)] == [
        "0.png_heading30_pitch4",
        "0.png_heading330_pitch26.5",
    ]
    assert images.read(20).shape == (480, 640, 3)
    assert np.abs(images.read(20) - scene(view_directions(640, 480, 60, 240, 26.5))).mean() < 1.5


@pytest.mark.parametrize("threads", [1, 8])
def test_a_panorama_is_decoded_once_for_its_views(ride, threads):
    of, decoded = read_source(ride), []

    def read(row):
        decoded.append(row)
        return of.read(row)

    images = views_of(GeotaggedImages(of.rows, read), ride, size=(16, 12))
    decoded.clear()  # of the first one it was made sure that it is one
    views = [view for _, view in ahead(images.read, range(len(images)), threads, 2 * threads)]
    assert sorted(decoded) == [0, 1, 2, 3]
    alone = views_of(of, ride, size=(16, 12))
    assert all((views[row] == alone.read(row)).all() for row in (95, 40, 3))


def test_a_bag_of_panoramas(tmp_path):
    with DriveWriter(tmp_path / "drive") as writer:
        for second in range(1, 5):
            position = to_geodetic([10.0 * second, 0.0, 0.0], DATUM)
            writer.fix("/gps/fix", second * 10**9, position, 1.0)
            writer.image(second * 10**9, compress(picture(64, second), ".png"), "png")
    source = Path(f"panorama,headings=4,pitches=0,size=32x24:bag:{tmp_path / 'drive'}")
    images = read_source(source, spacing=15.0)
    assert len(images) == 2 * 4
    np.testing.assert_allclose(images.rows["heading"][:4], [90, 180, 270, 0], atol=1)  # driven eastwards
    assert np.abs(images.read(1) - scene(view_directions(32, 24, 60, 90, 0), 1)).mean() < 3


def test_on_a_map_each_place_is_a_view(ride, tmp_path, weights):
    few = Path(f"panorama,headings=4,pitches=0,size=96x72:{ride}")
    build_map(few, tmp_path / "map", weights)
    rows = open_map(tmp_path / "map").rows()
    assert rows["image"].tolist() == read_source(few).rows["image"].tolist()
    assert rows["heading"][4:8].tolist() == [350, 80, 170, 260]
    (figures,) = evaluate(tmp_path / "map", few, weights)
    assert (figures["queries"], figures["recall@1"]) == (16, 1.0)
    recording = open_recording(Path(f"panorama,headings=1,pitches=0,size=96x72:{ride}"))
    assert [frame.image().shape for frame in recording.frames()] == [(72, 96, 3)] * 4


def test_views_are_nothing_wrong(call, ride):
    # with one stamp and place for many
    status, output, errors = call(check, "--data", f"{FEW}:{ride}")
    assert (status, "format: panorama\nimages: 24\n" in output) == (0, True), errors


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ("headings=0", ("headings=0", "'0'", "1 to 360")),
        ("headings=361", ("'361'", "1 to 360")),
        ("headings=45.5", ("'45.5'", "0/90/270")),
        ("headings=0/360", ("'0/360'", "different")),
        ("headings=0/400", ("'0/400'", "-360 to 360")),
        ("headings=north/south", ("'north/south'", "degrees")),
        ("pitches=", ("''", "degrees")),
        ("pitches=91", ("'91'", "-90 to 90")),
        ("pitches=nan", ("'nan'", "-90 to 90")),
        ("fov=wide", ("fov=wide", "number")),
        ("fov=150", ("150 degrees", "1 to 120")),
        ("size=640", ("'640'", "WIDTHxHEIGHT")),
        ("size=640x-480", ("'640x-480'", "WIDTHxHEIGHT")),
        ("yaw=3", ("yaw=3", "no such option", "headings")),
    ],
)
def test_views_that_cannot_be(ride, options, parts):
    with input_error(*parts):
        read_source(Path(f"panorama,{options}:{ride}"))


# --- images that are none


def test_a_first_image_that_is_no_panorama_is_refused_at_once(tmp_path):
    folder = write_panoramas(tmp_path / "ride", [0, 0])
    cv2.imwrite(str(folder / "0.png"), np.zeros((48, 64, 3), np.uint8))
    with input_error(folder, "0.png", "64x48", "twice as wide as high"):
        read_source(Path(f"panorama:{folder}"))


def test_others_are_left_out_by_name(tmp_path, weights, caplog):
    folder = write_panoramas(tmp_path / "ride", [0] * 4)
    (folder / "0.png").write_bytes(b"no image")
    (folder / "2.png").unlink()
    cv2.imwrite(str(folder / "3.png"), np.zeros((48, 64, 3), np.uint8))
    source = Path(f"panorama,headings=2,pitches=0,size=64x48:{folder}")
    with caplog.at_level(logging.WARNING):
        build_map(source, tmp_path / "map", weights)
    assert open_map(tmp_path / "map").rows()["image"].tolist() == [
        "1.png_heading0_pitch0",
        "1.png_heading180_pitch0",
    ]
    told = [record.getMessage() for record in caplog.records]
    assert sum(f"{folder}/0.png: image of 8 bytes does not decode" in line for line in told) == 2
    assert sum(f"{folder}/2.png: no such image" in line for line in told) == 2
    assert sum(f"{folder}: 3.png: 64x48 pixels: expected" in line for line in told) == 2


def jpeg_with_xmp(file, properties):
    """Write a panorama whose XMP says this."""
    xmp = b"http://ns.adobe.com/xap/1.0/\x00" + properties.encode()
    whole = compress(picture(32))
    file.write_bytes(whole[:2] + b"\xff\xe1" + (len(xmp) + 2).to_bytes(2, "big") + xmp + whole[2:])


@pytest.mark.parametrize("as_elements", [False, True])
@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({}, None),
        ({"ProjectionType": None}, None),
        ({"FullPanoHeightPixels": None}, None),
        ({"CroppedAreaImageHeightPixels": None}, None),
        ({"CroppedAreaImageHeightPixels": "1500"}, ("1500 of 2000 pixels of height", "uncropped")),
        ({"CroppedAreaImageWidthPixels": "3000"}, ("3000 of 4000 pixels of width", "uncropped")),
        ({"ProjectionType": "cylindrical"}, ("'cylindrical' panorama", "equirectangular")),
    ],
)
def test_what_the_file_says_of_the_panorama(tmp_path, changes, parts, as_elements):
    said = {
        "ProjectionType": "equirectangular",
        "CroppedAreaImageWidthPixels": "4000",
        "CroppedAreaImageHeightPixels": "2000",
        "FullPanoWidthPixels": "4000",
        "FullPanoHeightPixels": "2000",
    } | changes
    form = "<GPano:{0}>{1}</GPano:{0}>\n  " if as_elements else 'GPano:{0}="{1}" '
    jpeg_with_xmp(tmp_path / "a.jpg", "".join(form.format(*each) for each in said.items() if each[1]))
    (tmp_path / "images.csv").write_text("image,latitude,longitude\na.jpg,1,2\n")
    source = Path(f"panorama,size=16x12:{tmp_path}")
    if parts is None:
        assert read_source(source).read(0).shape == (12, 16, 3)
    else:
        with input_error(tmp_path, "a.jpg", *parts):
            read_source(source)


# --- the command

OPTIONS = ("--headings", "0/90/200", "--pitches", "0/20", "--fov", "70", "--size", "96x72")


def test_the_command_writes_what_the_source_reads(ride, tmp_path):
    done = script("panorama.py", ride, "--out", "views", *OPTIONS, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "views: 24 views of 4 panoramas\n"
    assert "24/24" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["views"]
    written, read = read_source(tmp_path / "views"), read_source(Path(f"{FEW}:{ride}"))
    for name in COLUMNS:
        if name != "image":
            np.testing.assert_array_equal(written.rows[name], read.rows[name])
    assert written.rows["image"][7] == "000/000001_heading90_pitch0.jpg"
    assert np.abs(written.read(7).astype(int) - read.read(7)).mean() < 2
    head, first, *_ = (tmp_path / "views" / "images.csv").read_text().splitlines()
    assert (head.rsplit(",")[-1], first.rsplit(",")[-1]) == ("panorama", "0.png")


def test_it_goes_on_from_where_it_was(ride, tmp_path, call):
    out = tmp_path / "views"
    assert call(panorama, "--data", ride, "--out", out, *OPTIONS)[0] == 0
    whole = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    lost, torn, empty, kept, *_ = sorted(out.glob("000/*.jpg"))
    (out / "images.csv").unlink()  # which comes last
    lost.unlink()
    torn.write_bytes(whole[torn][:-100])
    empty.write_bytes(b"")
    kept.write_bytes(b"as it was\xff\xd9")
    status, output, errors = call(panorama, "--data", ride, "--out", out, *OPTIONS)
    assert (status, output) == (0, f"{out}: 24 views of 4 panoramas\n"), errors
    assert {file: file.read_bytes() for file in whole} == whole | {kept: b"as it was\xff\xd9"}


def test_an_interrupt_says_how_to_go_on(ride, tmp_path, call, monkeypatch, caplog):
    out, interrupted = tmp_path / "views", count(1)

    def interrupting(image):
        if next(interrupted) == 9:
            raise KeyboardInterrupt
        return compress(image)

    with monkeypatch.context() as patch, caplog.at_level(logging.INFO):
        patch.setattr("training.panorama.compress", interrupting)
        status, output, errors = call(panorama, "--data", ride, "--out", out, *OPTIONS)
    assert (status, output) == (130, "")
    assert errors.endswith("interrupted\n")
    assert "the same command goes on" in caplog.text
    assert not (out / "images.csv").exists()
    before = {file: file.stat().st_mtime_ns for file in out.glob("000/*.jpg")}
    assert len(before) >= 8
    assert call(panorama, "--data", ride, "--out", out, *OPTIONS)[0] == 0
    assert len(read_source(out)) == 24
    assert before == {file: file.stat().st_mtime_ns for file in before}


def test_a_full_disk_is_told_in_one_line_and_it_goes_on(ride, tmp_path, call):
    command = f"{sys.executable} {ROOT}/training/panorama.py {ride} --out views --headings 2 --pitches 0"
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 4; exec {command}"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    check_refusal(done.returncode, done.stdout, done.stderr, "views/000/", "File too large")
    assert not (tmp_path / "views" / "images.csv").exists()
    out = tmp_path / "views"
    assert call(panorama, "--data", ride, "--out", out, "--headings", 2, "--pitches", 0)[0] == 0
    images = read_source(out)
    assert [images.read(row).shape for row in range(len(images))] == [(480, 640, 3)] * 8


def test_it_goes_on_with_the_same_views_alone(ride, tmp_path, call):
    out = tmp_path / "views"
    assert call(panorama, "--data", ride, "--out", out, *OPTIONS)[0] == 0
    again = call(panorama, "--data", ride, "--out", out, *OPTIONS)
    check_refusal(*again, out, "not empty")
    (out / "images.csv").unlink()
    for other in (("--fov", "80"), ("--spacing", "0", "--pitches", "0")):
        check_refusal(
            *call(panorama, "--data", ride, "--out", out, *OPTIONS, *other), out, "views.json", "other views"
        )
    assert json.loads((out / "views.json").read_text())["fov"] == 70
    fewer = write_panoramas(tmp_path / "fewer", [0, 350])
    check_refusal(*call(panorama, "--data", fewer, "--out", out, *OPTIONS), "other views")


def test_somebody_elses_folder_is_left_alone(ride, tmp_path, call):
    (tmp_path / "notes.txt").write_text("mine")
    check_refusal(*call(panorama, "--data", ride, "--out", tmp_path), tmp_path, "not empty")
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_panoramas_that_cannot_be_read(tmp_path, call, caplog):
    folder = write_panoramas(tmp_path / "ride", [0, 90, 180])
    (folder / "1.png").write_bytes(b"no image")
    with caplog.at_level(logging.WARNING):
        status, output, _ = call(panorama, "--data", folder, "--out", tmp_path / "views", *OPTIONS)
    assert (status, output) == (0, f"{tmp_path / 'views'}: 12 views of 2 panoramas\n")
    assert [record.getMessage().count("1.png") for record in caplog.records] == [1]
    rows = read_source(tmp_path / "views").rows
    assert sorted(set(rows["image"])) == sorted(rows["image"])
    assert not any("000001" in image for image in rows["image"])
    for file in folder.glob("*.png"):
        file.write_bytes(b"no image")
    check_refusal(
        *call(panorama, "--data", folder, "--out", tmp_path / "none", *OPTIONS), folder, "none of its 3"
    )
    assert not (tmp_path / "none" / "images.csv").exists()


@pytest.mark.parametrize(
    ("option", "value", "part"),
    [("--headings", "0", "headings '0'"), ("--size", "big", "size 'big'"), ("--fov", "200", "200 degrees")],
)
def test_options_that_cannot_be(ride, tmp_path, call, option, value, part):
    check_refusal(*call(panorama, "--data", ride, "--out", tmp_path / "views", option, value), part)
    assert list(tmp_path.iterdir()) == []
