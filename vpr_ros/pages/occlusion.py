"""Which parts of an image its descriptor hangs on: what changes when a grey square hides each of them.

As in "What has been learnt?" of Arandjelovic et al., NetVLAD (arXiv 1511.07247): squares of 100 pixels on
images of 640x480, neighbours overlap by half, and those that touch an edge of the image are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from vpr_ros.engines.batches import BATCH
from vpr_ros.errors import InputError
from vpr_ros.geotagged import Image
from vpr_ros.open_engine import AnyEngine

#: The paper's square, and the shorter side of its images, in pixels.
SQUARE, SHORTER_SIDE = 100, 480
#: Of a larger square there may be none that touches no edge.
LARGEST = 240
#: The paper's. Not the encoder's mean colour: then each network would be shown another picture.
GREY = 128


@dataclass(frozen=True, eq=False)
class Squares:
    """Squares on a picture, each half its side from the next; none touches an edge.

    Attributes:
        height: of the picture, pixels.
        width: of the picture.
        side: of a square.
        tops: (R,) first row of pixels of each.
        lefts: (C,) first column.
    """

    height: int
    width: int
    side: int
    tops: NDArray[np.intp]
    lefts: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Heat:
    """What changes when a square hides a part of a picture.

    Attributes:
        squares: where they lie.
        values: (R, C) float32: what each of them changes.
    """

    squares: Squares
    values: NDArray[np.float32]


def squares_on(height: int, width: int, square: int = SQUARE) -> Squares:
    """Return the squares on a picture of that size.

    Those of the paper's grid, from the corner on, less those at an edge, moved so that what they leave is
    equally wide on both sides: a quarter of a square at least.

    Args:
        height: of the picture, pixels.
        width: of the picture.
        square: side of a square on a picture whose shorter side is SHORTER_SIDE.

    Raises InputError for a square that is too small or too large for the picture.
    """
    shorter = min(height, width)
    smallest = math.ceil(2 * SHORTER_SIDE / shorter)  # a stride of one pixel
    if not smallest <= square <= LARGEST:
        raise InputError(
            f"square of {square} pixels, for a shorter side of {SHORTER_SIDE}, on a picture of "
            f"{width}x{height}: expected {smallest} to {LARGEST}"
        )
    stride = round(square / 2 * shorter / SHORTER_SIDE)
    tops, lefts = _starts(height, stride), _starts(width, stride)
    return Squares(height, width, 2 * stride, tops, lefts)


def _starts(length: int, stride: int) -> NDArray[np.intp]:
    """Return where the squares along a side begin."""
    count = (length - 1) // stride - 2
    first = (length - stride * (count + 1)) // 2
    return first + stride * np.arange(count)


def heat_of(
    engine: AnyEngine, image: Image, towards: NDArray[np.float32] | None = None, square: int = SQUARE
) -> Heat:
    """Return what changes when each part of an (H, W, 3) RGB image is hidden.

    Without `towards` the length of the descriptor's difference, 0 to 2. With it, what the similarity to that
    descriptor loses: above 0 where the hidden part made them alike, below where it made them differ.

    Args:
        engine: encodes; the squares lie on the image at its input size.
        image: of any size.
        towards: (P,) descriptor of unit length.
        square: side, as `squares_on` takes it.
    """
    fitted = engine.fit(image)
    height, width = fitted.shape[:2]
    squares = squares_on(height, width, square)
    whole = engine.encode([fitted])[0]
    corners = list(product(squares.tops.tolist(), squares.lefts.tolist()))
    values: list[NDArray[np.float32]] = []
    batch = BATCH[engine.device.type]
    for start in range(0, len(corners), batch):
        some = corners[start : start + batch]
        hidden = np.repeat(fitted[None], len(some), axis=0)
        for picture, (top, left) in zip(hidden, some, strict=True):
            picture[top : top + squares.side, left : left + squares.side] = GREY
        change = whole - engine.encode(list(hidden))
        values.append(np.linalg.norm(change, axis=1) if towards is None else change @ towards)
    return Heat(squares, np.concatenate(values).reshape(len(squares.tops), -1).astype(np.float32))
