"""Folders of images, by table and by EXIF: what is read, and what is said of one that is wrong."""

import logging
import struct
import warnings
import zlib
from datetime import datetime, timezone

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps
from PIL.TiffImagePlugin import IFDRational

from test.error_lines import check_line, input_error
from vpr_ros.drives.folder import read_folder
from vpr_ros.errors import InputError

GPS = ExifTags.GPS
HEADER = "image,latitude,longitude,altitude,heading,stamp,session"


def picture(colour=(200, 100, 50), size=(8, 6)):
    return Image.new("RGB", size, colour)


def write_table(folder, *lines, encoding="utf-8"):
    (folder / "images.csv").write_bytes("\n".join(lines).encode(encoding) + b"\n")
    return folder


# --- images.csv -------------------------------------------------------------------------------------------


def test_table_with_every_column(tmp_path):
    (tmp_path / "sub").mkdir()
    picture().save(tmp_path / "sub" / "a.png")
    picture((0, 0, 255)).save(tmp_path / "b.png")
    write_table(
        tmp_path,
        HEADER,
        "sub/a.png,52.1,-5.25,-3.5,359.5,1700000000123456789,noon",
        "b.png,-52,180,,,,",
    )
    images = read_folder(tmp_path)
    rows = images.rows
    assert rows["image"].tolist() == ["sub/a.png", "b.png"]
    assert rows["latitude"].tolist() == [52.1, -52]
    assert rows["longitude"].tolist() == [-5.25, 180]
    np.testing.assert_array_equal(rows["altitude"], [-3.5, np.nan])  # unknown cells are empty
    np.testing.assert_array_equal(rows["heading"], [359.5, np.nan])
    assert rows["stamp"].tolist() == [1700000000123456789, 0]
    assert rows["session"].tolist() == ["noon", ""]
    assert images.read(0).shape == (6, 8, 3)
    assert images.read(0)[0, 0].tolist() == [200, 100, 50]
    assert images.read(1)[0, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize("lines", [["image,latitude,longitude"], ["longitude,note,image,latitude"]])
def test_columns_may_lack_come_in_any_order_and_be_more(tmp_path, lines):
    values = {"image": "a.png", "latitude": "1.5", "longitude": "2.5", "note": "windy"}
    line = ",".join(values[name] for name in lines[0].split(","))
    rows = read_folder(write_table(tmp_path, lines[0], line)).rows
    assert rows[["image", "latitude", "longitude"]].tolist() == [("a.png", 1.5, 2.5)]
    assert np.isnan(rows["heading"][0])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tables_of_spreadsheets(tmp_path, encoding, end):
    text = end.join(["image,latitude,longitude", '"a, b.png", 1.5 ,2.5', "ö.png,1,2", ""])
    (tmp_path / "images.csv").write_bytes(text.encode(encoding))
    rows = read_folder(tmp_path).rows
    assert rows["image"].tolist() == ["a, b.png", "ö.png"]
    assert rows["latitude"].tolist() == [1.5, 1.0]


@pytest.mark.parametrize("name", ["image", "latitude", "longitude"])
def test_missing_column(tmp_path, name):
    names = [column for column in HEADER.split(",") if column != name]
    write_table(tmp_path, ",".join(names), ",".join("1" for _ in names))
    with input_error(tmp_path / "images.csv", f"'{name}'", "expected", HEADER.split(",", maxsplit=1)[0]):
        read_folder(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_empty_table(tmp_path, content):
    (tmp_path / "images.csv").write_bytes(content)
    with input_error(tmp_path / "images.csv", "expected"):
        read_folder(tmp_path)


def test_table_without_rows(tmp_path):
    with input_error("images.csv", "no row"):
        read_folder(write_table(tmp_path, HEADER))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("latitude", "north"),
        ("latitude", ""),
        ("longitude", "5,25"),
        ("altitude", "12 m"),
        ("heading", "NE"),
        ("stamp", "1.5e9"),
        ("stamp", "99999999999999999999999"),
        ("stamp", "yesterday"),
    ],
)
def test_bad_number_names_its_line(tmp_path, name, text):
    cells = dict.fromkeys(HEADER.split(","), "1") | {"image": "b.png", name: f'"{text}"'}
    write_table(tmp_path, HEADER, "a.png,1,1,1,1,1,s", ",".join(cells.values()), "c.png,1,1,1,1,1,s")
    with input_error(tmp_path / "images.csv", name, text) as caught:
        read_folder(tmp_path)
    assert "images.csv:3:" in str(caught.value)


@pytest.mark.parametrize(
    "before", [["", "a.png,1,1"], ['"a\nb.png",1,1']], ids=["after a blank line", "after a name of two lines"]
)
def test_line_numbers_are_those_of_an_editor(tmp_path, before):
    write_table(tmp_path, "image,latitude,longitude", *before, "b.png,x,1")
    with input_error("images.csv:4:", "latitude", "'x'"):
        read_folder(tmp_path)


def test_cells_that_end_early(tmp_path):
    with input_error("images.csv:2:", "longitude"):
        read_folder(write_table(tmp_path, "image,latitude,longitude", "a.png,1"))
    rows = read_folder(write_table(tmp_path, HEADER, "a.png,1,2")).rows
    assert np.isnan(rows["altitude"][0])


@pytest.mark.parametrize("value", ["91", "nan", "inf", "-1e400"])
def test_numbers_out_of_range_name_table_and_image(tmp_path, value):
    with input_error(tmp_path / "images.csv", "latitude", "b.png"):
        read_folder(write_table(tmp_path, "image,latitude,longitude", "a.png,1,1", f"b.png,{value},1"))


@pytest.mark.parametrize("path", ["../secret.png", "/etc/passwd", "sub/../../secret.png", ".."])
def test_paths_out_of_the_folder(tmp_path, path):
    folder = tmp_path / "folder"
    folder.mkdir()
    picture().save(tmp_path / "secret.png")
    with input_error("images.csv", path, "outside"):
        read_folder(write_table(folder, "image,latitude,longitude", f"{path},1,1"))


@pytest.mark.parametrize("path", ["..dots.png", "a..b/c.png"])
def test_dots_in_names_are_no_way_out(tmp_path, path):
    (tmp_path / path).parent.mkdir(exist_ok=True)
    picture().save(tmp_path / path)
    images = read_folder(write_table(tmp_path, "image,latitude,longitude", f"{path},1,1"))
    assert images.read(0).shape == (6, 8, 3)


@pytest.mark.parametrize(
    "content",
    [
        "image,latitude,longitude\nöäü.png,1,1\n".encode("latin-1"),
        bytes(range(128, 256)) * 20,
        b"\xff\xfei\x00",
    ],
    ids=["latin-1", "bytes", "utf-16"],
)
def test_table_in_another_encoding(tmp_path, content):
    (tmp_path / "images.csv").write_bytes(content)
    with input_error(tmp_path / "images.csv", "UTF-8"):
        read_folder(tmp_path)


def test_a_cell_of_a_megabyte(tmp_path):
    with input_error("images.csv"):
        read_folder(write_table(tmp_path, "image,latitude,longitude", f"{'x' * 2**20},1,1"))


def test_missing_and_damaged_images_are_told_when_they_are_read(tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    picture().save(tmp_path / "good.png")
    images = read_folder(
        write_table(
            tmp_path, "image,latitude,longitude", "gone.png,1,1", "bad.jpg,1,1", "good.png,1,1", ",1,1"
        )
    )
    with input_error(tmp_path / "gone.png", "no such image"):
        images.read(0)
    with input_error(tmp_path / "bad.jpg", "does not decode", "copy it again"):
        images.read(1)
    assert images.read(2).shape == (6, 8, 3)
    with input_error(tmp_path, "no such image"):
        images.read(3)
    with input_error(tmp_path / "gone.png", "no such image"):
        images.undecoded(0)
    undecoded = images.undecoded(1)
    assert undecoded.data == b"no image"
    with input_error(tmp_path / "bad.jpg", "does not decode", "copy it again"):
        undecoded.rgb()


def test_table_wins_over_exif(tmp_path):
    geotagged(tmp_path / "a.jpg", latitude=(10, 0, 0))
    rows = read_folder(write_table(tmp_path, "image,latitude,longitude", "a.jpg,20,30")).rows
    assert rows["latitude"].tolist() == [20]


def test_no_such_folder(tmp_path):
    with input_error(tmp_path / "gone", "no such folder"):
        read_folder(tmp_path / "gone")


# --- EXIF -------------------------------------------------------------------------------------------------


def geotagged(
    file,
    latitude=(52, 30, 36),
    longitude=(5, 15, 0),
    refs=("N", "E"),
    altitude=None,
    below=None,
    direction=None,
    taken=None,
    subsec=None,
    orientation=None,
    image=None,
):
    exif = Image.Exif()
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps[GPS.GPSLatitudeRef], gps[GPS.GPSLongitudeRef] = refs
    gps[GPS.GPSLatitude], gps[GPS.GPSLongitude] = latitude, longitude
    for tag, value in (
        (GPS.GPSAltitude, altitude),
        (GPS.GPSAltitudeRef, below),
        (GPS.GPSImgDirection, direction),
    ):
        if value is not None:
            gps[tag] = value
    details = exif.get_ifd(ExifTags.IFD.Exif)
    if taken is not None:
        details[ExifTags.Base.DateTimeOriginal] = taken
    if subsec is not None:
        details[ExifTags.Base.SubsecTimeOriginal] = subsec
    if orientation is not None:
        exif[ExifTags.Base.Orientation] = orientation
    (image or picture()).save(file, exif=exif.tobytes())


def row_of(folder):
    (row,) = read_folder(folder).rows
    return row


@pytest.mark.parametrize(
    ("refs", "signs"), [("NE", (1, 1)), ("NW", (1, -1)), ("SE", (-1, 1)), ("SW", (-1, -1))]
)
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "JPG"])
def test_degrees_minutes_and_seconds(tmp_path, refs, signs, suffix):
    geotagged(tmp_path / f"a.{suffix}", (52, 30, 36), (5, 15, 9), tuple(refs))
    row = row_of(tmp_path)
    assert row["latitude"] == pytest.approx(signs[0] * 52.51, abs=1e-9)
    assert row["longitude"] == pytest.approx(signs[1] * 5.2525, abs=1e-9)


def test_decimal_minutes_and_seconds(tmp_path):
    geotagged(tmp_path / "a.jpg", (52, 30.6, 0), (5, 15, 9.36))
    row = row_of(tmp_path)
    assert row["latitude"] == pytest.approx(52.51, abs=1e-7)
    assert row["longitude"] == pytest.approx(5.2526, abs=1e-7)


@pytest.mark.parametrize(("below", "expected"), [(None, 12.5), (b"\x00", 12.5), (b"\x01", -12.5)])
def test_altitude_above_and_below_the_sea(tmp_path, below, expected):
    geotagged(tmp_path / "a.jpg", altitude=12.5, below=below)
    assert row_of(tmp_path)["altitude"] == pytest.approx(expected)


def test_direction_and_what_is_not_there(tmp_path):
    geotagged(tmp_path / "a.jpg", direction=271.25)
    geotagged(tmp_path / "b.jpg")
    rows = read_folder(tmp_path).rows
    assert rows["image"].tolist() == ["a.jpg", "b.jpg"]
    assert rows["heading"][0] == pytest.approx(271.25)
    for name in ("heading", "altitude"):
        assert np.isnan(rows[name][1])
    assert rows["stamp"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("subsec", "nanoseconds"), [(None, 0), ("5", 500_000_000), ("05 ", 50_000_000), ("123456", 123_456_000)]
)
def test_time_taken(tmp_path, subsec, nanoseconds):
    geotagged(tmp_path / "a.jpg", taken="2024:05:06 07:08:09", subsec=subsec)
    seconds = int(datetime(2024, 5, 6, 7, 8, 9, tzinfo=timezone.utc).timestamp())
    assert row_of(tmp_path)["stamp"] == seconds * 10**9 + nanoseconds


@pytest.mark.parametrize(
    "taken",
    ["0000:00:00 00:00:00", "    :  :     :  :  ", "soon", "", "9999:12:31 23:59:59", "0001:01:01 00:00:00"],
)
def test_time_of_a_camera_that_has_none(tmp_path, taken):
    geotagged(tmp_path / "a.jpg", taken=taken)
    assert row_of(tmp_path)["stamp"] == 0


@pytest.mark.parametrize("subsec", ["", "  ", "abc", "-5", "1e30"])
def test_fraction_that_is_none_does_not_cost_the_second(tmp_path, subsec):
    geotagged(tmp_path / "a.jpg", taken="2024:05:06 07:08:09", subsec=subsec)
    seconds = int(datetime(2024, 5, 6, 7, 8, 9, tzinfo=timezone.utc).timestamp())
    assert row_of(tmp_path)["stamp"] == seconds * 10**9


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_upright(tmp_path, orientation):
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:16, :24] = (255, 0, 0)
    pixels[16:, 24:] = (0, 0, 255)
    pixels[:16, 24:] = (0, 255, 0)
    stored = Image.fromarray(pixels)
    geotagged(tmp_path / "a.jpg", orientation=orientation, image=stored)
    with Image.open(tmp_path / "a.jpg") as opened:
        upright = np.asarray(ImageOps.exif_transpose(opened)).astype(int)
    found = read_folder(tmp_path).read(0)
    assert found.shape == ((32, 48, 3) if orientation <= 4 else (48, 32, 3))
    assert np.abs(found - upright).mean() < 5


def test_images_without_a_geotag_are_left_out_with_a_warning(tmp_path, caplog):
    geotagged(tmp_path / "a.jpg")
    picture().save(tmp_path / "b.jpg")
    picture().save(tmp_path / "c.png")
    with caplog.at_level(logging.WARNING):
        images = read_folder(tmp_path)
    assert images.rows["image"].tolist() == ["a.jpg"]
    assert any("2 images" in record.getMessage() for record in caplog.records)


def test_no_warning_where_all_have_one(tmp_path, caplog):
    geotagged(tmp_path / "a.jpg")
    read_folder(tmp_path)
    assert not caplog.records


def test_no_image_has_a_geotag(tmp_path):
    picture().save(tmp_path / "b.jpg")
    with input_error(tmp_path, "1 images", "geotag", "images.csv"):
        read_folder(tmp_path)


def test_no_images(tmp_path):
    (tmp_path / "notes.txt").write_text("none")
    with input_error(tmp_path, "no images", "images.csv"):
        read_folder(tmp_path)


def test_folders_below_are_sessions(tmp_path):
    for name in ("b/2/x.jpg", "a/y.jpg", "z.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        geotagged(tmp_path / name)
    images = read_folder(tmp_path)
    assert dict(zip(images.rows["image"].tolist(), images.rows["session"].tolist(), strict=True)) == {
        "b/2/x.jpg": "b/2",
        "a/y.jpg": "a",
        "z.jpg": "",
    }
    assert images.read(1).shape == (6, 8, 3)


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff\xe1", b"\x89PNG\r\n\x1a\n"])
def test_image_that_does_not_decode(tmp_path, content):
    geotagged(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes(content)
    with input_error(tmp_path / "b.jpg", "does not decode", "copy it again"):
        read_folder(tmp_path)


def test_image_whose_header_says_it_is_larger_than_any_memory(tmp_path):
    geotagged(tmp_path / "a.png")
    whole = bytearray((tmp_path / "a.png").read_bytes())
    whole[16:24] = struct.pack(">II", 100_000, 100_000)
    whole[29:33] = zlib.crc32(bytes(whole[12:29])).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(whole)
    with input_error(tmp_path / "a.png"):
        read_folder(tmp_path).read(0)


def test_geotag_out_of_range_names_the_image(tmp_path):
    geotagged(tmp_path / "a.jpg", longitude=(200, 0, 0))
    with input_error(tmp_path, "longitude", "a.jpg"):
        read_folder(tmp_path)


@pytest.mark.parametrize("latitude", [(52, 30), (52,), 52.5])
def test_geotag_that_is_none_counts_as_none(tmp_path, latitude):
    geotagged(tmp_path / "a.jpg", latitude=latitude)
    with input_error(tmp_path, "EXIF geotag"):
        read_folder(tmp_path)


def test_rationals_of_zero_by_zero_are_unknown(tmp_path):
    geotagged(tmp_path / "a.jpg", altitude=IFDRational(0, 0), direction=IFDRational(0, 0))
    row = row_of(tmp_path)
    assert np.isnan(row["altitude"])
    assert np.isnan(row["heading"])


def test_any_damaged_byte_of_the_exif_gives_rows_or_one_line(tmp_path):
    file = tmp_path / "a.jpg"
    geotagged(file, altitude=1.5, below=b"\x00", direction=9, taken="2024:05:06 07:08:09", subsec="5")
    whole = file.read_bytes()
    end = 4 + struct.unpack(">H", whole[22:24])[0] + 20  # JFIF, then the APP1 of the EXIF
    assert whole[20:22] == b"\xff\xe1"
    random = np.random.default_rng(0)
    for place in range(20, end):
        value = int(random.choice([0, 1, 0x7F, 0x80, 0xFF, whole[place] ^ 0x10]))
        file.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow says that the EXIF is damaged
                rows = read_folder(tmp_path).rows
        except InputError as error:
            check_line(error, tmp_path)
        else:
            assert len(rows) == 1


def test_a_folder_is_no_image(tmp_path):
    (tmp_path / "a.png").mkdir()
    with input_error(tmp_path / "a.png", "no such image"):
        read_folder(write_table(tmp_path, "image,latitude,longitude", "a.png,1,2")).read(0)
