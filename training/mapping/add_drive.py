"""A drive on its way into a map that is there already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from vpr_ros.encoder import DEFAULT_WEIGHTS
from vpr_ros.engines.batches import encode_table
from vpr_ros.geotagged import GeotaggedImages
from vpr_ros.images.small_picture import PICTURE_WIDTH
from vpr_ros.maps.edit import check_encoder
from vpr_ros.maps.shards import Shards, plan_of, shards_beside
from vpr_ros.open_engine import AnyModel, engine_on, load_model
from vpr_ros.place_map import PlaceMap
from vpr_ros.sources import paths_of


def open_encoder(weights: Path | None, place_map: PlaceMap) -> AnyModel:
    """Open weights, those that ship where none are named; raises InputError for others than the map's."""
    weights = weights or DEFAULT_WEIGHTS
    encoder = load_model(weights)
    check_encoder(weights, encoder.fingerprint(), place_map)
    return encoder


@contextmanager
def encoded_beside(
    folder: Path,
    place_map: PlaceMap,
    encoder: AnyModel,
    images: GeotaggedImages,
    data: Path | list[Path],
    device: str,
) -> Iterator[Shards]:
    """Yield a drive, encoded; what was encoded before an interruption is not encoded again.

    Args:
        folder: of the map, beside which it lies until it is in it.
        place_map: the map; of a drive pictures are kept where it has some.
        encoder: of the map.
        images: of the drive.
        data: where they are from.
        device: auto, cuda or cpu.
    """
    engine = engine_on(encoder, device)
    width = PICTURE_WIDTH if place_map.pictures is not None else 0
    plan = plan_of(engine.fingerprint, images.rows, paths_of(data), width)
    with shards_beside(folder, images.rows, engine.dimension, plan) as shards:
        windows = shards.missing()
        batches = encode_table(engine, images, windows, width, "encoding the drive", quiet=not windows)
        with closing(batches) as encoded:
            for window, part in zip(windows, encoded, strict=True):
                shards.write(window, part)
        yield shards
