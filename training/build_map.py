"""Build a map from drives with GPS: `python training/build_map.py --data DRIVE --out MAP`."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from training.learning.fabric import check_processes, is_first_process
from training.mapping.shared_work import Share, start_processes, together, torchrun_processes
from vpr_ros.command import run
from vpr_ros.encoder import DEFAULT_WEIGHTS
from vpr_ros.engine import choose_device
from vpr_ros.engines.batches import Encoded, encode_table, reading_threads
from vpr_ros.errors import InputError
from vpr_ros.geotagged import GeotaggedImages
from vpr_ros.images.small_picture import PICTURE_WIDTH
from vpr_ros.maps.index import factory, untrained
from vpr_ros.maps.shards import Shards, building_folder, plan_of, shards_beside
from vpr_ros.maps.stored_descriptors import KINDS
from vpr_ros.maps.writer import check_replaceable, write_map
from vpr_ros.open_engine import AnyModel, engine_on, load_model
from vpr_ros.sources import paths_of, read_sources
from vpr_ros.threads.ahead import ahead


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
    index: str = "auto",
    stored: str = "auto",
    rerank: int | None = None,
    device: str = "auto",
    devices: int = 1,
) -> None:
    """Build a map of geotagged images: the places that a robot can be recognised at.

    Interrupted or killed, the same command goes on from where it was.

    Args:
        data: Folders of images (images.csv or EXIF), bags (rosbag2, MCAP, ROS 1) or public data sets
            (docs/data-sets.md); several as '[a,b]'.
        out: Folder of the map; a map of that name is replaced.
        weights: Weights file of the encoder, or an ONNX model; the node must be given the same one.
        session: Only the images of this session.
        rows: Only these images, start:stop:step; ::2 is every other one.
        image_topic: Of a bag with more than one image topic.
        fix_topic: Of a bag with more than one NavSatFix topic.
        spacing: Metres driven from one place to the next, of a drive; 0 keeps every image.
        max_fix_gap: Seconds without a fix above which a bag's images are left out.
        geotag_std: Standard deviation of the geotags, metres, each horizontal axis.
        pictures: Keep a small picture of each place, for people to look at.
        index: flat (exact), ivf, ivfpq, hnsw, a FAISS factory string (docs/maps.md), or auto: flat for a
            small map, ivfpq for a large one.
        stored: Descriptors beside the index, for ranking its candidates again: none, float16, int8 or auto.
        rerank: How many candidates are ranked again by the stored descriptors.
        device: auto, cuda or cpu.
        devices: GPUs of this machine, or processes on the CPU, that share the work.
    """
    chosen, processes = choose_device(device), torchrun_processes() or devices
    check_processes(chosen, processes, "32-true")
    folder, width = building_folder(out), PICTURE_WIDTH if pictures else 0

    def table() -> GeotaggedImages:
        return read_sources(data, session, rows, image_topic, fix_topic, max_fix_gap, spacing)

    if not is_first_process():
        try:
            share = start_processes(chosen, processes, folder)  # waits until the first found nothing wrong
            with together(share, folder) as check:
                model, images = load_model(weights), _in_silence(table)
                _encode(share, check, model, images, Shards(folder, images.rows, model.dimension), width)
        except KeyboardInterrupt:  # the first one says so
            sys.exit(130)
        return
    # before the work, not after it
    if not 0 < geotag_std < math.inf:
        raise InputError(f"--geotag-std {geotag_std}: expected a positive number of metres")
    if stored not in ("auto", "none", *KINDS):
        raise InputError(f"--stored {stored}: expected auto, none, {' or '.join(KINDS)}")
    if rerank is not None and rerank < 0:
        raise InputError(f"--rerank {rerank}: expected at least 0")
    check_replaceable(out)
    model, images = load_model(weights), table()
    untrained(factory(index, len(images), model.dimension), model.dimension)
    fingerprint = model.fingerprint()
    plan = plan_of(fingerprint, images.rows, paths_of(data), width)
    with shards_beside(out, images.rows, model.dimension, plan) as shards:
        share = start_processes(chosen, processes, folder)
        with together(share, folder) as check:
            _encode(share, check, model, images, shards, width)
        write_map(out, shards, fingerprint, geotag_std, None, index, stored, rerank)
        count = shards.count
    print(f"{out}: {count} places of {len(images)} images")


def _encode(
    share: Share,
    check: Callable[[], None],
    model: AnyModel,
    images: GeotaggedImages,
    shards: Shards,
    picture_width: int,
) -> None:
    """Write one process's share of the shards that are missing."""
    windows = shards.missing(share.rank, share.processes)
    what = "building map" + (f", process 1 of {share.processes}" if share.processes > 1 else "")
    encoded = encode_table(
        *(engine_on(model, share.device), images, windows, picture_width, what),
        *(reading_threads(share.processes), check),
        quiet=share.rank > 0 or not windows,
    )

    def write(shard: tuple[range, Encoded]) -> None:
        shards.write(*shard)

    # a disk takes its time to tell that a file is safe
    with closing(encoded), closing(ahead(write, zip(windows, encoded, strict=True), 1, 1)) as written:
        for _ in written:
            pass


def _in_silence(table: Callable[[], GeotaggedImages]) -> GeotaggedImages:
    """Return the table without what is said of it, which the first process says."""
    logging.disable(logging.WARNING)
    try:
        return table()
    finally:
        logging.disable(logging.NOTSET)


if __name__ == "__main__":
    run(build_map)
