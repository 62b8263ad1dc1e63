"""SIFT and RootSIFT (Arandjelovic & Zisserman, CVPR 2012) of an image, at keypoints or densely."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

DENSE_ROOTSIFT, ROOTSIFT, SIFT = FEATURES = ("dense-rootsift", "rootsift", "sift")
#: D, of a SIFT.
DEPTH = 128
#: Pixels of one of the 4 x 4 bins at each scale, and by which of them the image is smoothed: vl_phow's, which
#: Torii et al. (24/7 place recognition by view synthesis, CVPR 2015) take.
BINS, SMOOTHING = (4, 6, 8, 10), 1 / 6
#: OpenCV's bin is this many times a keypoint's size.
_BIN_OF_SIZE = 1.5

Grey = NDArray[np.uint8]
Features = NDArray[np.float32]


def local_features(kind: str, grey: Grey, step: int) -> Features:
    """Return (N, 128) features of unit length of a (H, W) picture; none where it shows nothing.

    Args:
        kind: one of FEATURES.
        grey: the picture.
        step: pixels from one feature to the next, of dense ones.
    """
    found = _dense(grey, step) if kind == DENSE_ROOTSIFT else _at_keypoints(grey)
    found = found[found.any(axis=1)]  # of an even patch it is zero
    if kind == SIFT:
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)
    found /= found.sum(axis=1, keepdims=True)
    root: Features = np.sqrt(found, out=found)
    return root


def _at_keypoints(grey: Grey) -> Features:
    found: Features | None = cv2.SIFT_create().detectAndCompute(grey, None)[1]  # type: ignore[attr-defined]
    return np.empty((0, DEPTH), np.float32) if found is None else found


def _dense(grey: Grey, step: int) -> Features:
    scales = []
    for size in BINS:
        # one octave of the fewest layers: the others are for finding keypoints
        sift = cv2.SIFT_create(nOctaveLayers=1, sigma=size * SMOOTHING)  # type: ignore[attr-defined]
        scales.append(sift.compute(grey, _grid(*grey.shape, size, step))[1])
    return np.asarray(np.concatenate(scales), np.float32)


@lru_cache(maxsize=4 * len(BINS))  # a camera's images are of one size
def _grid(height: int, width: int, size: int, step: int) -> tuple[cv2.KeyPoint, ...]:
    """Return upright keypoints at the same places for all scales; the middles of their bins are inside."""
    margin = max(BINS) * 3 / 2
    down, along = (np.arange(margin, side - margin, step).tolist() for side in (height, width))
    return tuple(cv2.KeyPoint(x, y, size / _BIN_OF_SIZE, 0.0) for y in down for x in along)
