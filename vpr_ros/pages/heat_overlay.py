"""What hiding its parts changes, laid over a picture in register with it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from numpy.typing import NDArray

from vpr_ros.geotagged import Image
from vpr_ros.pages.occlusion import Heat

#: Of what is never negative, and of what is above or below 0: told by hue, as lightness is the picture's.
COLOURS, SIGNED = "turbo", "RdBu_r"
#: How much of a pixel is the colour; the rest is the picture, in grey.
OPACITY = 0.5


def one_scale(heats: Sequence[Heat], signed: bool) -> ScalarMappable:
    """Return the colours that all of these share: from 0 to the largest, or as far below 0 as above."""
    largest = max((float(np.abs(heat.values).max()) for heat in heats), default=0.0)
    limit = max(largest, 1e-6)  # of a grey picture nothing changes
    return ScalarMappable(Normalize(-limit if signed else 0.0, limit), SIGNED if signed else COLOURS)


def spread(heat: Heat, height: int, width: int) -> NDArray[np.float32]:
    """Return (height, width) values for the pixels of a picture, of whatever size, that the heat is of.

    A value stands at the centre of its square; between centres it is interpolated linearly, from the
    outermost centres to the edges of their squares it is held, and where no square lay it is NaN.
    """
    squares = heat.squares
    rows = _weights(squares.tops, squares.side, squares.height, height)
    columns = _weights(squares.lefts, squares.side, squares.width, width)
    return np.asarray(rows @ heat.values @ columns.T, np.float32)


def _weights(starts: NDArray[np.intp], side: int, length: int, pixels: int) -> NDArray[np.float64]:
    """Return the (pixels, N) share that each square has in a row of pixels as long as `length`."""
    at = (np.arange(pixels) + 0.5) * length / pixels  # a pixel's middle; whole numbers lie between pixels
    weights = np.stack([np.interp(at, starts + side / 2, one) for one in np.eye(len(starts))], axis=1)
    weights[(at < starts[0]) | (at > starts[-1] + side)] = np.nan
    return weights


def overlay(image: Image, heat: Heat, colours: ScalarMappable) -> Image:
    """Return the (H, W, 3) RGB image in grey, with the colours of its heat over it where a square lay."""
    values = spread(heat, *image.shape[:2])
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)[..., None]
    share = np.where(np.isnan(values), 0.0, OPACITY)[..., None]
    return np.asarray(np.rint(share * 255 * colours.to_rgba(values)[..., :3] + (1 - share) * grey), np.uint8)
