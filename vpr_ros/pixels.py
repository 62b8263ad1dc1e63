"""The pixels of an image message, raw or compressed, as an RGB array; knows nothing of ROS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from vpr_ros.errors import InputError
from vpr_ros.geotagged import Image

if TYPE_CHECKING:
    from array import array

    #: Bytes of a message, wherever they lie; rclpy has them in an array.
    Buffer = bytes | bytearray | memoryview | array[int] | NDArray[np.uint8]

#: Channels a pixel, and OpenCV's conversion to RGB, of the 8-bit encodings of sensor_msgs/image_encodings.
#: OpenCV names a Bayer pattern by its second row, ROS by its first.
_EIGHT_BITS: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, cv2.COLOR_GRAY2RGB),
    "8UC3": (3, cv2.COLOR_BGR2RGB),
    "8UC4": (4, cv2.COLOR_BGRA2RGB),
    "bayer_rggb8": (1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (1, cv2.COLOR_BayerGB2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUYV),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUYV),
}
#: Bytes a sample, channels a pixel, conversion; a 16-bit sample counts by its high byte.
ENCODINGS = {name: (1, *layout) for name, layout in _EIGHT_BITS.items()} | {
    f"{name[:-1]}16": (2, *layout) for name, layout in _EIGHT_BITS.items() if name.endswith("8")
}


class UnknownEncodingError(InputError):
    """An encoding that is not one of ENCODINGS."""


def view_rows(data: Buffer, height: int, width: int, step: int, pixel_bytes: int) -> NDArray[np.uint8]:
    """Return the (height, width * pixel_bytes) bytes of the image, in place, padding left out.

    Raises InputError for an empty image, a step shorter than a row, or a buffer shorter than its rows.
    """
    row = width * pixel_bytes
    if height <= 0 or width <= 0:
        raise InputError(f"image of {width}x{height}: expected at least one pixel")
    if step < row:
        raise InputError(f"step of {step} bytes: a row of {width} pixels takes at least {row}")
    buffer = np.frombuffer(data, np.uint8)
    if len(buffer) < step * (height - 1) + row:
        raise InputError(f"{len(buffer)} bytes of data: {height} rows of {step} bytes were announced")
    return np.lib.stride_tricks.as_strided(buffer, (height, row), (step, 1), writeable=False)


def rgb_from_raw(
    data: Buffer,
    height: int,
    width: int,
    step: int,
    encoding: str,
    is_bigendian: bool = False,
) -> Image:
    """Return (H, W, 3) RGB of a sensor_msgs/Image; rgb8 is a view of `data`, not a copy.

    Raises:
        UnknownEncodingError: not one of ENCODINGS.
        InputError: step or data do not fit height and width.
    """
    if encoding not in ENCODINGS:
        raise UnknownEncodingError(f"encoding {encoding[:40]!r}: expected one of {', '.join(ENCODINGS)}")
    sample, channels, conversion = ENCODINGS[encoding]
    rows = view_rows(data, height, width, step, sample * channels)
    if sample == 2:
        rows = np.ascontiguousarray(rows[:, 0 if is_bigendian else 1 :: 2])
    if channels == 2 and width % 2:
        raise InputError(f"{encoding} image of odd width {width}: its pixels come in pairs")
    pixels = rows if channels == 1 else rows.reshape(height, width, channels)
    if conversion is None:
        return pixels
    try:
        return np.asarray(cv2.cvtColor(pixels, conversion), np.uint8)
    except cv2.error as error:  # a Bayer image of a single row, say
        raise InputError(f"{encoding} image of {width}x{height} does not convert: {error.err}") from error


def rgb_from_compressed(data: Buffer) -> Image:
    """Return (H, W, 3) RGB of the bytes of a JPEG or PNG file, upright by its EXIF orientation."""
    buffer = np.frombuffer(data, np.uint8)
    try:
        decoded = cv2.imdecode(buffer, cv2.IMREAD_COLOR) if buffer.size else None
    except cv2.error as error:  # larger than OpenCV's limit on pixels
        raise InputError(f"compressed image does not decode: {error.err}") from error
    if decoded is None:
        raise InputError(f"compressed image of {buffer.size} bytes does not decode: expected JPEG or PNG")
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)


def compress(image: Image, suffix: str = ".jpg") -> bytes:
    """Return the bytes of an image file of that suffix (.jpg, .png) of an (H, W, 3) RGB image."""
    _, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])
    return data.tobytes()
