"""A world small enough for a test: a few places that look different, and an encoder without training."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from vpr_ros.encoder import Architecture, Encoder, save_encoder
from vpr_ros.geotagged import Image, make_rows
from vpr_ros.images.pixels import compress
from vpr_ros.maps.writer import InMemory, write_map
from vpr_ros.open_engine import open_engine

#: Degrees of latitude from one place to the next: 100 m.
STEP = 100 / 111_200


def picture(place: int) -> Image:
    """Return what a place looks like: (96, 128, 3) RGB."""
    coarse = np.random.default_rng(place).integers(0, 256, (6, 8, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (128, 96), interpolation=cv2.INTER_NEAREST), np.uint8)


def small_weights(file: Path) -> Path:
    """Write weights of a small encoder, the same ones every time."""
    torch.manual_seed(0)
    save_encoder(Encoder(Architecture(clusters=4, input_size=64)).eval(), file, "nothing: a test")
    return file


def small_map(folder: Path, weights: Path, places: int = 12) -> Path:
    """Write a map of places in a row northwards, 100 m apart, seen looking north."""
    engine = open_engine(weights, "cpu")
    pictures = [picture(place) for place in range(places)]
    rows = make_rows(
        "test",
        latitude=48.0 + STEP * np.arange(places),
        longitude=np.full(places, 11.0),
        altitude=np.full(places, 500.0),
        heading=np.zeros(places),
    )
    source = InMemory(engine.dimension)
    source.add(engine.encode(pictures), rows, [compress(each) for each in pictures])
    write_map(folder, source, engine.fingerprint, geotag_std=1.0, progress=False)
    return folder
