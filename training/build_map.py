"""Build a map from drives with GPS: `python training/build_map.py --data DRIVE --out MAP`."""

from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path

import cv2

from vpr_ros.batches import encode_table
from vpr_ros.command import run
from vpr_ros.encoder import DEFAULT_WEIGHTS, load_encoder
from vpr_ros.engine import Engine, choose_device
from vpr_ros.errors import InputError
from vpr_ros.geotagged import Image
from vpr_ros.place_map import MapBuilder, check_replaceable
from vpr_ros.sources import read_sources

PICTURE_WIDTH = 240


def build_map(
    data: Path | list[Path],
    out: Path,
    weights: Path = DEFAULT_WEIGHTS,
    session: str | None = None,
    rows: str | None = None,
    image_topic: str | None = None,
    fix_topic: str | None = None,
    spacing: float = 1.0,
    max_fix_gap: float = 2.0,
    geotag_std: float = 2.0,
    pictures: bool = True,
    device: str = "auto",
) -> None:
    """Build a map of geotagged images: the places that a robot can be recognised at.

    Args:
        data: Folders of images (images.csv or EXIF) or bags (rosbag2, MCAP, ROS 1); several as '[a,b]'.
        out: Folder of the map; a map of that name is replaced.
        weights: Weights file of the encoder; the node must be given the same one.
        session: Only the images of this session.
        rows: Only these images, start:stop:step; ::2 is every other one.
        image_topic: Of a bag with more than one image topic.
        fix_topic: Of a bag with more than one NavSatFix topic.
        spacing: Metres driven from one place to the next, in a bag; 0 keeps every image.
        max_fix_gap: Seconds without a fix above which a bag's images are left out.
        geotag_std: Standard deviation of the geotags, metres, each horizontal axis.
        pictures: Keep a small picture of each place, for people to look at.
        device: auto, cuda or cpu.
    """
    if not 0 < geotag_std < math.inf:
        raise InputError(f"--geotag-std {geotag_std}: expected a positive number of metres")
    check_replaceable(out)  # before the work, not after it
    engine = Engine(load_encoder(weights), choose_device(device))
    images = read_sources(data, session, rows, image_topic, fix_topic, max_fix_gap, spacing)
    builder = MapBuilder(engine.fingerprint, engine.dimension, geotag_std)
    with closing(encode_table(engine, images, what="building map")) as batches:
        for batch in batches:
            small = [shrink(image) for image in batch.images] if pictures else []
            builder.add(batch.descriptors, images.rows[batch.rows], small)
    builder.write(out)
    print(f"{out}: {builder.count} places of {len(images)} images")


def shrink(image: Image) -> Image:
    """Return the RGB image at the width of a map's pictures, or as it is where it is smaller."""
    height, width = image.shape[:2]
    if width <= PICTURE_WIDTH:
        return image
    size = (PICTURE_WIDTH, max(1, round(height * PICTURE_WIDTH / width)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


if __name__ == "__main__":
    run(build_map)
