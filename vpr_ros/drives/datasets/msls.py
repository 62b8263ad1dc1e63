"""Mapillary Street-level Sequences: {train_val,test}/city/{query,database}/ with raw.csv and seq_info.csv."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

from vpr_ros.drives.datasets.utm_metres import Zone, to_degrees
from vpr_ros.drives.datasets.written_time import stamp_of
from vpr_ros.errors import InputError
from vpr_ros.files.csv_table import read_csv
from vpr_ros.geotagged import GeotaggedImages, make_rows
from vpr_ros.images.image_files import check_below, image_table

logger = logging.getLogger(__name__)

SEQUENCES, RAW, POSTPROCESSED = "seq_info.csv", "raw.csv", "postprocessed.csv"
_PARTS = ("query", "database")


def is_msls(folder: Path) -> bool:
    """Tell whether a folder holds sequences: one part of a city, a city, several, or all."""
    return bool(_parts(folder))


def read_msls(folder: Path, zone: Zone | None = None) -> GeotaggedImages:
    """Read all parts below a folder; each sequence is a session, named city/part/sequence.

    Panoramas are left out, as its authors do, and so are parts without positions: those of the test cities.

    Args:
        folder: of the data set, of its train_val, of a city, or of a part.
        zone: of UTM, where raw.csv with its degrees is not there.
    """
    parts = _parts(folder)
    if not parts:
        raise InputError(f"{folder}: no {SEQUENCES} here: expected query/ and database/ of a city of MSLS")
    records: list[dict[str, Any]] = []
    for part in parts:
        records += _records(part, folder, zone)
    if not records:
        raise InputError(f"{folder}: no image with a position: MSLS keeps those of its test cities back")
    records.sort(key=lambda record: (record["session"], record.pop("frame")))
    return image_table(
        folder, make_rows(str(folder), **{name: [each[name] for each in records] for name in records[0]})
    )


def _parts(folder: Path) -> list[Path]:
    # the folders of the images, with their thousands of files, are not looked through
    depths = ("", *("*/" * depth for depth in range(1, 4)))
    found = [file.parent for depth in depths for file in folder.glob(f"{depth}{SEQUENCES}")]
    return sorted(part for part in found if part.resolve().name in _PARTS)


def _records(part: Path, folder: Path, zone: Zone | None) -> list[dict[str, Any]]:
    raw, utm = _table(part / RAW), _table(part / POSTPROCESSED)
    if not raw and not utm:
        logger.warning("%s: no %s and no %s: no positions: left out", part, RAW, POSTPROCESSED)
        return []
    if not raw and zone is None:
        raise InputError(f"{part}: no {RAW}: give the zone of its UTM, as in msls,zone=32U:{folder}")
    records, panoramas = [], 0
    for key, sequence in _table(part / SEQUENCES).items():
        line = (raw or utm).get(key)
        if line is None:
            raise InputError(f"{part / SEQUENCES}: image '{key}' has no position: unpack the metadata again")
        if line.get("pano", "").lower() == "true":
            panoramas += 1
            continue
        image = (part / "images" / f"{key}.jpg").relative_to(folder).as_posix()
        check_below(f"{key}.jpg", part / SEQUENCES)
        latitude, longitude = (
            (_number(line, "lat", part / RAW), _number(line, "lon", part / RAW))
            if raw
            else _degrees(line, part / POSTPROCESSED, zone, image)
        )
        name = part.resolve()
        records.append(
            {
                "image": image,
                "latitude": latitude,
                "longitude": longitude,
                "heading": _number(line, "ca", part / RAW) if line.get("ca") else math.nan,
                "stamp": stamp_of(line.get("captured_at", "")),
                "session": f"{name.parent.name}/{name.name}/{sequence.get('sequence_key', '')}",
                "frame": _number(sequence, "frame_number", part / SEQUENCES),
            }
        )
    logger.info("%s: %d images, %d panoramas left out", part, len(records), panoramas)
    return records


def _degrees(line: dict[str, str], file: Path, zone: Zone | None, image: str) -> tuple[float, float]:
    assert zone is not None  # noqa: S101  asked for above
    east, north = _number(line, "easting", file), _number(line, "northing", file)
    ((latitude, longitude),) = to_degrees([east], [north], zone, str(file), [image]).tolist()
    return latitude, longitude


def _table(file: Path) -> dict[str, dict[str, str]]:
    """Return the lines of a csv file by their key; none where there is no such file."""
    if not file.is_file():
        return {}
    _, lines = read_csv(file, ("key",), "metadata of MSLS")
    return {line["key"]: line for _, line in lines}


def _number(line: dict[str, str], name: str, file: Path) -> float:
    try:
        return float(line.get(name, ""))
    except ValueError as error:
        raise InputError(
            f"{file}: {name} of '{line['key']}' is '{line.get(name, '')}': expected a number"
        ) from error
