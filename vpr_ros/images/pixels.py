"""The pixels of an image message, raw or compressed, for the engine; knows nothing of ROS."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from vpr_ros.errors import InputError, first_line
from vpr_ros.geotagged import Image
from vpr_ros.images.camera_image import BGR, GREY, RGB, CameraImage, Order

if TYPE_CHECKING:
    from array import array

    from vpr_ros.engines.gpu_jpeg import GpuImage, JpegDecoder

    #: Bytes of a message, wherever they lie; rclpy has them in an array.
    Buffer = bytes | bytearray | memoryview | array[int] | NDArray[np.uint8]

#: Of a compressed image, where nothing else is said: a camera of 64 megapixels.
MAX_PIXELS = 1 << 26
#: Channels a pixel and their order, of the 8-bit encodings of sensor_msgs/image_encodings that are colours as
#: they lie there.
_PLAIN: dict[str, tuple[int, Order]] = {
    "rgb8": (3, RGB),
    "bgr8": (3, BGR),
    "rgba8": (4, RGB),
    "bgra8": (4, BGR),
    "mono8": (1, GREY),
    "8UC1": (1, GREY),
    "8UC3": (3, BGR),
    "8UC4": (4, BGR),
}
#: Channels a pixel and OpenCV's conversion to RGB of the others. OpenCV names a Bayer pattern by its second
#: row, ROS by its first.
_CONVERTED: dict[str, tuple[int, int]] = {
    "bayer_rggb8": (1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (1, cv2.COLOR_BayerGB2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUYV),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUYV),
}
#: Bytes a sample of each encoding, and the 8-bit one of its layout; a 16-bit sample counts by its high byte.
_EIGHT_BITS = {name: (1, name) for name in (*_PLAIN, *_CONVERTED)}
ENCODINGS = _EIGHT_BITS | {f"{name[:-1]}16": (2, name) for name in _EIGHT_BITS if name.endswith("8")}


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


def image_from_raw(
    data: Buffer,
    height: int,
    width: int,
    step: int,
    encoding: str,
    is_bigendian: bool = False,
) -> CameraImage:
    """Return what a sensor_msgs/Image shows, a view of `data` where it is 8 bits a sample and colours.

    Raises:
        UnknownEncodingError: not one of ENCODINGS.
        InputError: step or data do not fit height and width.
    """
    if encoding not in ENCODINGS:
        raise UnknownEncodingError(f"encoding {encoding[:40]!r}: expected one of {', '.join(ENCODINGS)}")
    sample, layout = ENCODINGS[encoding]
    channels = (_PLAIN.get(layout) or _CONVERTED[layout])[0]
    rows = view_rows(data, height, width, step, sample * channels)
    if sample == 2:
        rows = np.ascontiguousarray(rows[:, 0 if is_bigendian else 1 :: 2])
    if channels == 2 and width % 2:
        raise InputError(f"{encoding} image of odd width {width}: its pixels come in pairs")
    pixels = rows.reshape(height, width, channels)
    if layout in _PLAIN:
        return CameraImage(pixels, _PLAIN[layout][1])
    try:
        return CameraImage(np.asarray(cv2.cvtColor(pixels, _CONVERTED[layout][1]), np.uint8))
    except cv2.error as error:  # a Bayer image of a single row, say
        raise InputError(f"{encoding} image of {width}x{height} does not convert: {error.err}") from error


def image_from_compressed(
    data: Buffer, max_pixels: int = MAX_PIXELS, decoder: JpegDecoder | None = None
) -> CameraImage | GpuImage:
    """Return what is in the bytes of a JPEG or PNG file, upright by its EXIF orientation.

    Args:
        data: of the file.
        max_pixels: that are decoded.
        decoder: for those images that a GPU decodes.

    Raises:
        InputError: it does not decode, or its header announces more than `max_pixels`: a few bytes may say
            that they are gigabytes.
    """
    buffer = np.frombuffer(data, np.uint8)
    failed = f"image of {buffer.size} bytes does not decode"
    try:
        with PillowImage.open(BytesIO(buffer.data), formats=("JPEG", "PNG")) as header:  # reads no further
            width, height = header.size
            check_pixels(height, width, max_pixels)
            if header.format == "PNG":  # OpenCV allocates what a chunk announces before it looks at it
                header.verify()
            there = decoder.decode(header, buffer) if decoder is not None else None
    except UnidentifiedImageError as error:
        raise InputError(f"{failed}: expected JPEG or PNG") from error
    except (OSError, SyntaxError, ValueError, PillowImage.DecompressionBombError) as error:
        raise InputError(f"{failed}: {first_line(error)}") from error
    return CameraImage(_decode(buffer), BGR) if there is None else there


def rgb_from_file(data: bytes) -> Image:
    """Return (H, W, 3) RGB of an image file's bytes, upright by its EXIF orientation; for the user's own."""
    return CameraImage(_decode(np.frombuffer(data, np.uint8)), BGR).rgb()


def _decode(buffer: NDArray[np.uint8]) -> NDArray[np.uint8]:
    try:
        decoded = cv2.imdecode(buffer, cv2.IMREAD_COLOR) if buffer.size else None
    except cv2.error as error:  # larger than OpenCV's limit on pixels
        raise InputError(f"image does not decode: {error.err}") from error
    if decoded is None:
        raise InputError(f"image of {buffer.size} bytes does not decode: damaged, or of no known format")
    return np.asarray(decoded, np.uint8)


def check_pixels(height: int, width: int, max_pixels: int) -> None:
    """Raise InputError for an image of more pixels than that."""
    if height * width > max_pixels:
        raise InputError(f"image of {width}x{height}: expected at most {max_pixels} pixels")


def compress(image: Image, suffix: str = ".jpg") -> bytes:
    """Return the bytes of an image file of that suffix (.jpg, .png) of an (H, W, 3) RGB image."""
    _, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])
    return data.tobytes()
