"""The pixels of image messages, every encoding against colours worked out by hand."""

import array
import io
import math
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from test.error_lines import check_line, input_error
from vpr_ros.errors import InputError
from vpr_ros.images.pixels import (
    ENCODINGS,
    UnknownEncodingError,
    compress,
    image_from_compressed,
    image_from_raw,
    view_rows,
)

RED, GREEN, BLUE, ORANGE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 100, 50)
HEIGHT, WIDTH = 8, 12
BAYER = {f"bayer_{pattern}8": pattern for pattern in ("rggb", "bggr", "gbrg", "grbg")}
YUV = ["yuv422", "uyvy", "yuv422_yuy2", "yuyv"]
#: The 16-bit encodings, and the 8-bit ones of the same layout.
DEEP = {f"{name[:-1]}16": name for name in ("rgb8", "bgr8", "rgba8", "bgra8", "mono8", *BAYER)}
#: Where the red, green and blue of a pixel lie in its bytes.
ORDER = {
    "rgb8": "rgb",
    "bgr8": "bgr",
    "rgba8": "rgba",
    "bgra8": "bgra",
    "8UC3": "bgr",
    "8UC4": "bgra",
}


def rgb_from_raw(*layout, **more):
    return image_from_raw(*layout, **more).rgb()


def rgb_from_compressed(data):
    return image_from_compressed(data).rgb()


def solid(colour, height=HEIGHT, width=WIDTH):
    return np.full((height, width, 3), colour, np.uint8)


def encoded(image, encoding, padding=0):
    """Return the data and step of a message, written from the definition of its encoding."""
    height, width, _ = image.shape
    if encoding in ORDER:
        planes = {
            "r": image[..., 0],
            "g": image[..., 1],
            "b": image[..., 2],
            "a": np.full((height, width), 77),
        }
        pixels = np.stack([planes[letter] for letter in ORDER[encoding]], axis=-1)
    elif encoding in BAYER:
        pixels = np.empty((height, width), np.uint8)
        for place, letter in enumerate(BAYER[encoding]):  # first row, then second
            row, column = divmod(place, 2)
            pixels[row::2, column::2] = image[row::2, column::2, "rgb".index(letter)]
    else:
        pixels = image[..., 0]
    rows = pixels.reshape(height, -1).astype(np.uint8)
    padded = np.full((height, rows.shape[1] + padding), 99, np.uint8)
    padded[:, : rows.shape[1]] = rows
    return padded.tobytes(), padded.shape[1]


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("colour", [RED, GREEN, BLUE, ORANGE])
@pytest.mark.parametrize("encoding", [*ORDER, *BAYER])
def test_solid_colours(encoding, colour, padding):
    data, step = encoded(solid(colour), encoding, padding)
    found = rgb_from_raw(data, HEIGHT, WIDTH, step, encoding)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, solid(colour))


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey(encoding):
    ramp = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)
    found = rgb_from_raw(ramp.tobytes(), HEIGHT, WIDTH, WIDTH, encoding)
    np.testing.assert_array_equal(found, np.repeat(ramp[..., None], 3, axis=2))


@pytest.mark.parametrize("encoding", list(ORDER))
def test_every_pixel_in_its_place(encoding):
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    data, step = encoded(image, encoding, padding=3)
    np.testing.assert_array_equal(rgb_from_raw(data, HEIGHT, WIDTH, step, encoding), image)


@pytest.mark.parametrize("encoding", BAYER)
def test_bayer_keeps_left_from_right_and_top_from_bottom(encoding):
    image = solid(GREEN, 16, 16)
    image[:8, 8:] = RED
    image[8:, :8] = BLUE
    data, step = encoded(image, encoding)
    found = rgb_from_raw(data, 16, 16, step, encoding)
    # one or two pixels beside an edge may mix
    for rows in (slice(0, 6), slice(10, 16)):
        for columns in (slice(0, 6), slice(10, 16)):
            np.testing.assert_array_equal(found[rows, columns], image[rows, columns])


def pairs(encoding, luma, u, v, height=HEIGHT, width=WIDTH):
    pair = (u, luma, v, luma) if encoding in ("yuv422", "uyvy") else (luma, u, luma, v)
    return bytes(pair) * (height * width // 2)


@pytest.mark.parametrize("encoding", YUV)
@pytest.mark.parametrize("luma", [16, 60, 126, 235])
def test_yuv_of_grey(encoding, luma):
    found = rgb_from_raw(pairs(encoding, luma, 128, 128), HEIGHT, WIDTH, WIDTH * 2, encoding)
    expected = 255 * (luma - 16) / 219  # BT.601, 16 is black and 235 white
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("encoding", YUV)
@pytest.mark.parametrize(
    ("colour", "yuv"), [(RED, (81, 90, 240)), (GREEN, (145, 54, 34)), (BLUE, (41, 240, 110))]
)
def test_yuv_of_colours(encoding, colour, yuv):
    # the values of BT.601 for the primaries
    found = rgb_from_raw(pairs(encoding, *yuv), HEIGHT, WIDTH, WIDTH * 2, encoding)
    assert np.abs(found - np.array(colour, int)).max() <= 4


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("encoding", DEEP)
def test_sixteen_bits_count_by_their_high_byte(encoding, big_endian):
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    data, step = encoded(image, DEEP[encoding], padding=3)
    high = np.frombuffer(data, np.uint8).astype(">u2" if big_endian else "<u2")
    deep = high * 256 + np.arange(len(high), dtype=high.dtype) % 256  # any low byte
    found = rgb_from_raw(
        deep.astype(high.dtype).tobytes(), HEIGHT, WIDTH, 2 * step, encoding, is_bigendian=big_endian
    )
    np.testing.assert_array_equal(found, rgb_from_raw(data, HEIGHT, WIDTH, step, DEEP[encoding]))


def test_every_encoding_has_been_looked_at():
    assert set(ENCODINGS) == {*ORDER, *BAYER, *YUV, *DEEP, "mono8", "8UC1"}


def test_rgb8_is_a_view():
    data = np.random.default_rng(0).integers(0, 256, HEIGHT * (WIDTH * 3 + 7), np.uint8)
    found = rgb_from_raw(data, HEIGHT, WIDTH, WIDTH * 3 + 7, "rgb8")
    assert np.shares_memory(found, data)
    assert not found.flags.writeable  # nobody changes a message by accident
    np.testing.assert_array_equal(found[2, 3], data[2 * (WIDTH * 3 + 7) + 9 :][:3])


@pytest.mark.parametrize(
    "container",
    [
        bytes,
        bytearray,
        memoryview,
        lambda data: array.array("B", data),
        lambda d: np.frombuffer(d, np.uint8),
    ],
    ids=["bytes", "bytearray", "memoryview", "array", "ndarray"],
)
def test_containers_of_bytes(container):
    # of rclpy, of rosbags, and what the signature says
    data, step = encoded(solid(ORANGE), "bgr8")
    np.testing.assert_array_equal(rgb_from_raw(container(data), HEIGHT, WIDTH, step, "bgr8"), solid(ORANGE))


def test_last_row_may_lack_its_padding():
    data, step = encoded(solid(ORANGE), "rgb8", padding=9)
    np.testing.assert_array_equal(rgb_from_raw(data[:-9], HEIGHT, WIDTH, step, "rgb8"), solid(ORANGE))


def test_bytes_behind_the_image_do_not_matter():
    data, step = encoded(solid(ORANGE), "bgr8")
    np.testing.assert_array_equal(rgb_from_raw(data + b"xyz", HEIGHT, WIDTH, step, "bgr8"), solid(ORANGE))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_one_byte_short(encoding):
    eight = DEEP.get(encoding, encoding)
    channels = len(ORDER[eight]) if eight in ORDER else 2 if eight in YUV else 1
    step = WIDTH * channels * (2 if encoding in DEEP else 1)
    data = bytes(HEIGHT * step)
    assert rgb_from_raw(data, HEIGHT, WIDTH, step, encoding).shape == (HEIGHT, WIDTH, 3)
    with input_error(str(len(data) - 1), "bytes"):
        rgb_from_raw(data[:-1], HEIGHT, WIDTH, step, encoding)


def test_step_too_small():
    with input_error("step", "35", "36"):
        rgb_from_raw(bytes(1000), HEIGHT, WIDTH, 35, "rgb8")
    with input_error("step"):
        rgb_from_raw(bytes(1000), 1, WIDTH, 0, "rgb8")


@pytest.mark.parametrize("size", [(0, 12), (12, 0), (0, 0), (-1, 12), (12, -1)])
def test_no_pixels(size):
    with input_error(f"{size[1]}x{size[0]}"):
        rgb_from_raw(b"", *size, 36, "rgb8")


def test_empty_data():
    with input_error("0 bytes"):
        rgb_from_raw(b"", HEIGHT, WIDTH, WIDTH * 3, "rgb8")


def test_sizes_larger_than_any_memory():
    huge = 2**32 - 1
    with input_error("bytes"):
        rgb_from_raw(bytes(100), huge, huge, huge * 3, "rgb8")


@pytest.mark.parametrize("encoding", YUV)
def test_odd_width_of_pairs(encoding):
    with input_error(encoding, "odd width 3"):
        rgb_from_raw(bytes(100), 2, 3, 6, encoding)


@pytest.mark.parametrize("encoding", ["", "rgb32", "RGB8", "32FC1", "nv12", "x" * 10_000, "a\nb"])
def test_unknown_encoding_names_those_there_are(encoding):
    with pytest.raises(UnknownEncodingError) as caught:
        rgb_from_raw(bytes(1000), 2, 2, 12, encoding)
    check_line(caught.value, "rgb8", "bayer_rggb8")
    assert len(str(caught.value)) < 500


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.binary(max_size=300),
    st.integers(-2, 12),
    st.integers(-2, 12),
    st.integers(-3, 60),
    st.sampled_from([*ENCODINGS, "nonsense"]),
)
def test_any_message_gives_an_image_or_one_line(data, height, width, step, encoding):
    try:
        found = rgb_from_raw(data, height, width, step, encoding)
    except InputError as error:
        check_line(error)
    else:
        assert found.shape == (height, width, 3)
        assert found.dtype == np.uint8


def test_view_rows_leaves_the_padding_out():
    data = bytes(range(20))
    assert view_rows(data, 2, 3, 10, 2).tolist() == [list(range(6)), list(range(10, 16))]


# --- compressed -------------------------------------------------------------------------------------------


def photo():
    blocks = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    return cv2.resize(blocks, (96, 64), interpolation=cv2.INTER_CUBIC)


def file_of(image, suffix):
    """Return an image file, not by the code under test."""
    written = io.BytesIO()
    Image.fromarray(image).save(written, suffix)
    return written.getvalue()


def test_png_is_exact():
    np.testing.assert_array_equal(rgb_from_compressed(file_of(photo(), "png")), photo())


@pytest.mark.parametrize("colour", [RED, GREEN, BLUE, ORANGE])
def test_jpeg_has_its_colours_in_order(colour):
    found = rgb_from_compressed(file_of(solid(colour, 16, 16), "jpeg"))
    assert np.abs(found - np.array(colour, int)).max() <= 3


def test_grey_and_transparent_files_are_rgb():
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    np.testing.assert_array_equal(
        rgb_from_compressed(file_of(grey, "png")), np.repeat(grey[..., None], 3, axis=2)
    )
    clear = np.dstack([solid(ORANGE), np.full((HEIGHT, WIDTH), 255, np.uint8)])
    np.testing.assert_array_equal(rgb_from_compressed(file_of(clear, "png")), solid(ORANGE))


@pytest.mark.parametrize(("suffix", "tolerance"), [(".png", 0), (".jpg", 12)])
def test_what_compress_writes_is_read_again(suffix, tolerance):
    image = np.repeat(np.repeat(photo()[::8, ::8], 16, axis=0), 16, axis=1)
    found = rgb_from_compressed(compress(image, suffix)).astype(int)
    assert np.abs(found - image).mean() <= tolerance


@pytest.mark.parametrize(
    "container",
    [bytes, bytearray, lambda data: array.array("B", data)],
    ids=["bytes", "bytearray", "array"],
)
def test_compressed_in_any_container(container):
    np.testing.assert_array_equal(rgb_from_compressed(container(file_of(photo(), "png"))), photo())


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00", b"not an image at all\n" * 50, bytes(range(256)) * 10],
    ids=["empty", "byte", "text", "bytes"],
)
def test_garbage(content):
    with input_error("does not decode", str(len(content))):
        rgb_from_compressed(content)


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_truncated_in_its_header(kind):
    with input_error("does not decode"):
        rgb_from_compressed(file_of(photo(), kind)[:18])


@pytest.mark.parametrize("kind", ["png", "jpeg"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_truncated_gives_what_is_there_or_one_line(kind, share):
    whole = file_of(photo(), kind)
    try:
        found = rgb_from_compressed(whole[: math.floor(share * len(whole))])
    except InputError as error:
        check_line(error, "does not decode")
    else:
        assert found.shape == photo().shape


def test_larger_than_any_memory():
    # 2**31 - 1 pixels a side, says the header
    whole = bytearray(file_of(solid(RED, 4, 4), "png"))
    whole[16:24] = b"\x7f\xff\xff\xff" * 2
    whole[29:33] = zlib.crc32(bytes(whole[12:29])).to_bytes(4, "big")
    with input_error("does not decode"):
        rgb_from_compressed(bytes(whole))


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_bomb_is_refused_by_its_header(kind):
    """A few bytes that say that they are gigabytes; damaged ones, so that decoding them would be told."""
    whole = file_of(solid(RED, 300, 200), kind)
    assert image_from_compressed(whole, 60_000).pixels.shape == (300, 200, 3)
    with input_error("200x300", "at most 59999 pixels"):
        image_from_compressed(whole[:-40], 59_999)
