"""Camera messages as no camera should send them, the same ones for a seed; knows nothing of ROS."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np

from test.small_world import picture
from vpr_ros.images.pixels import compress

#: sensor_msgs/image_encodings of Jazzy, which later ones only add to.
COLOURS = (
    *("rgb8", "rgba8", "rgb16", "rgba16", "bgr8", "bgra8", "bgr16", "bgra16", "mono8", "mono16"),
    *(f"bayer_{pattern}{bits}" for bits in (8, 16) for pattern in ("rggb", "bggr", "gbrg", "grbg")),
    *("uyvy", "yuv422", "yuyv", "yuv422_yuy2", "nv21", "nv24"),
)
NUMBERS = tuple(
    f"{kind}C{n}" for kind in ("8U", "8S", "16U", "16S", "32S", "32F", "64F") for n in (1, 2, 3, 4)
)
GARBAGE = (
    *(
        "",
        " ",
        "\0",
        "rgb8\0mono8",
        "RGB8",
        "rgb",
        "8UC0",
        "8UC5",
        "8UC999999999",
        "8UC-1",
        "32FC",
        "TYPE_8UC3",
    ),
    *("8UC1e9", "64FC1_", "ü§漢字", "𓀀" * 20, "x" * 100_000, "%s%n%x", "../../etc/passwd", "bayer_rggb32"),
    *("rgb8; jpeg compressed bgr8", "mono8\n", "{0}", "__import__('os')", "!!python/object:os.system"),
)
#: Bytes a pixel of those that are not 3.
_PIXEL_BYTES = {"mono8": 1, "8UC1": 1, "rgba8": 4, "bgra8": 4, "mono16": 2, "yuyv": 2, "uyvy": 2, "32FC1": 4}
SIDES = (0, 1, 2, 3, 15, 63, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1)
#: Sides of images that may be honest. Few: for each new size PyTorch keeps some 40 kB of prepared kernels.
HONEST_SIDES = (1, 2, 3, 16, 33, 64, 65, 97, 128, 199)
SECONDS = (0, 1, -1, -(2**31), 2**31 - 1, 1_700_000_000)
NANOSECONDS = (0, 1, 10**9 - 1, 10**9, 2**31, 2**32 - 1)
FRAMES = ("", "camera", "/", "//", "a b", "\0", "map", "ü漢", "x" * 5000, "../..", "~", "%n", "'; rm -rf /")
FORMATS = (
    "jpeg",
    "png",
    "",
    "rgb8; jpeg compressed bgr8",
    "tiff",
    "gif",
    "\0",
    "ü",
    "x" * 5000,
    "compressedDepth",
)


@dataclass(frozen=True)
class Header:
    """A std_msgs/Header."""

    sec: int = 1
    nanosec: int = 0
    frame_id: str = "camera"


@dataclass(frozen=True)
class RawImage:
    """A sensor_msgs/Image."""

    header: Header
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: bytes

    def cdr(self) -> bytes:
        """Return it as it is on the wire."""
        writer = _Writer(self.header)
        writer.number("I", self.height)
        writer.number("I", self.width)
        writer.string(self.encoding)
        writer.number("B", self.is_bigendian)
        writer.number("I", self.step)
        writer.octets(self.data)
        return bytes(writer.written)


@dataclass(frozen=True)
class Compressed:
    """A sensor_msgs/CompressedImage."""

    header: Header
    format: str
    data: bytes

    def cdr(self) -> bytes:
        """Return it as it is on the wire."""
        writer = _Writer(self.header)
        writer.string(self.format)
        writer.octets(self.data)
        return bytes(writer.written)


class _Writer:
    """Writes the little-endian common data representation."""

    def __init__(self, header: Header) -> None:
        self.written = bytearray(b"\0\1\0\0")
        self.number("i", header.sec)
        self.number("I", header.nanosec)
        self.string(header.frame_id)

    def number(self, code: str, value: int) -> None:
        self.written += bytes(-(len(self.written) - 4) % struct.calcsize(code))
        self.written += struct.pack("<" + code, value)

    def string(self, value: str) -> None:
        self.octets(value.encode() + b"\0")

    def octets(self, value: bytes) -> None:
        self.number("I", len(value))
        self.written += value


def good(compressed: bool, place: int, header: Header) -> RawImage | Compressed:
    """Return what an honest camera sends at a place of the small world."""
    image = picture(place)
    if compressed:
        return Compressed(header, "png", compress(image, ".png"))
    return RawImage(header, *image.shape[:2], "rgb8", 0, image.strides[0], image.tobytes())


def hostile(compressed: bool, seed: int) -> Iterator[RawImage | Compressed]:
    """Yield messages without end."""
    rng = np.random.default_rng([seed, compressed])
    while True:
        yield _compressed(rng) if compressed else _raw(rng)


def torn(message: RawImage | Compressed, rng: np.random.Generator) -> bytes:
    """Return a message whose bytes on the wire do not hold together: cut, or with a length that is a lie."""
    cdr = bytearray(message.cdr())
    way = rng.integers(4)
    if way == 0:
        del cdr[int(rng.integers(5, len(cdr))) :]
    elif way == 1:  # the length of frame_id, which comes first
        struct.pack_into("<I", cdr, 12, _pick(rng, (0, 2**16, 2**31 - 1, 2**31, 2**32 - 1)))
    elif way == 2 and message.data:  # that of the pixels, which come last
        at = len(cdr) - len(message.data) - 4
        struct.pack_into("<I", cdr, at, _pick(rng, (0, 2**16, 2**31 - 1, 2**31, 2**32 - 1)))
    else:
        for at in rng.integers(4, min(len(cdr), 80), 4):
            cdr[at] = rng.integers(256)
    return bytes(cdr)


def _raw(rng: np.random.Generator) -> RawImage:
    encoding = _pick(rng, (COLOURS, NUMBERS, GARBAGE)[rng.choice(3, p=[0.6, 0.2, 0.2])])
    height, width = (_side(rng) for _ in range(2))
    row = width * _PIXEL_BYTES.get(encoding, 3)
    step = int(_pick(rng, (row, row, row, row + 7, 0, 1, max(0, row - 1), 2**31, 2**32 - 1))) % 2**32
    length = step * height
    if not 0 <= length <= 2**17:  # announced only
        length = int(rng.integers(0, 10_000))
    length = max(0, length + int(_pick(rng, (0, 0, 0, 0, -1, 1, 1000, -length, -length // 2))))
    data = rng.integers(0, 256, length, np.uint8).tobytes()
    return RawImage(_header(rng), height, width, encoding, int(_pick(rng, (0, 0, 1, 255))), step, data)


def _compressed(rng: np.random.Generator) -> Compressed:
    data = bytearray(_pick(rng, _files()))
    way = rng.integers(6)
    if way == 0:
        del data[int(rng.integers(0, len(data))) :]
    elif way == 1:
        for at in rng.integers(0, len(data), rng.integers(1, 20)):
            data[at] ^= 1 << rng.integers(8)
    elif way == 2:  # of the header alone
        for at in rng.integers(0, min(64, len(data)), rng.integers(1, 4)):
            data[at] = rng.integers(256)
    elif way == 3:
        at = int(rng.integers(0, len(data)))
        data[at:at] = rng.integers(0, 256, rng.integers(1, 100), np.uint8).tobytes()
    elif way == 4 and rng.random() < 0.3:
        data = bytearray(rng.integers(0, 256, rng.integers(0, 500), np.uint8).tobytes())
    return Compressed(_header(rng), _pick(rng, FORMATS), bytes(data))


def _header(rng: np.random.Generator) -> Header:
    return Header(_pick(rng, SECONDS), _pick(rng, NANOSECONDS), _pick(rng, FRAMES))


def _side(rng: np.random.Generator) -> int:
    return int(_pick(rng, HONEST_SIDES if rng.random() < 0.6 else SIDES))


def _pick(rng: np.random.Generator, choices: Any) -> Any:
    return choices[rng.integers(len(choices))]


@cache
def _files() -> tuple[bytes, ...]:
    """Return whole files, honest and not, that are then damaged."""
    image = picture(3)
    grey, deep = image[..., 0], image.astype(np.uint16) * 257
    alpha = np.dstack([image, image[..., :1]])
    whole = [_file(suffix, each) for suffix in (".png", ".jpg") for each in (image, grey)]
    whole += [_file(".png", deep), _file(".png", alpha), _file(".bmp", image), _file(".webp", image)]
    progressive = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    return (*whole, progressive, *bombs())


def _file(suffix: str, image: Any) -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


@cache
def bombs() -> tuple[bytes, ...]:
    """Return small files that say they are gigabytes."""
    return (
        png_of_zeros(30_000, 30_000),
        png_of_zeros(2**31 - 1, 1),
        png_of_zeros(0, 100),
        png_with_a_long_chunk(),
        jpeg_that_says(65_500, 65_500),
        jpeg_that_says(65_500, 8),
        jpeg_that_says(0, 8),
    )


def png_of_zeros(width: int, height: int) -> bytes:
    """Return a PNG of black pixels, of a million times its own size; its rows end after 2^24 bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes(min((1 + 3 * width) * height, 1 << 24)), 9)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def png_with_a_long_chunk() -> bytes:
    """Return a small PNG whose pixels announce more bytes than there are, by three billion."""
    data = bytearray(_file(".png", picture(0)))
    struct.pack_into(">I", data, data.index(b"IDAT") - 4, 3 * 10**9)
    return bytes(data)


def jpeg_that_says(width: int, height: int) -> bytes:
    """Return a JPEG of few pixels whose header says that it has so many."""
    data = bytearray(_file(".jpg", picture(0)))
    at = data.index(b"\xff\xc0") + 5  # start of frame: length, precision, height, width
    struct.pack_into(">HH", data, at, height, width)
    return bytes(data)
