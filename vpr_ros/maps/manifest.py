"""A map's manifest: what the map holds, and the sums of its files."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

from vpr_ros.errors import InputError
from vpr_ros.files.checksum import sum_of
from vpr_ros.geodesy import Datum

FORMAT = 2
MANIFEST = "manifest.json"
INDEX = "index.faiss"
PLACES = "places.npy"
NAMES = "names.bin"
NAME_TABLE = "names.npy"
CENTRE = "centre.npy"
DESCRIPTORS = "descriptors.npy"
PICTURES = "pictures.bin"
PICTURE_TABLE = "pictures.npy"
METRIC = "inner_product"
#: Larger files are not summed when a map is opened: a robot that is switched on waits for its first position.
SUMMED_AT_OPEN = 1 << 26
_FILES = {INDEX, PLACES, NAMES, NAME_TABLE, CENTRE, DESCRIPTORS, PICTURES, PICTURE_TABLE}
#: A place's picture in format 1.
_LOOSE_PICTURE = re.compile(r"images/\d{6,9}\.jpg", re.ASCII)
_SUM = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SHOULD = "expected a map written by training/build_map.py"


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of the cosine similarity between unrelated places of a map."""

    mean: float
    std: float


@dataclass(frozen=True)
class FileSum:
    """What a file of a map must be; format 1 does not say how large."""

    bytes: int | None
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a map holds.

    Attributes:
        encoder: fingerprint of the encoder that it was built with.
        dimension: P of its descriptors.
        places: how many there are.
        datum: origin of the map's local frame.
        geotag_std: standard deviation of a place's position, metres, each horizontal axis.
        unrelated: what similarity places have that are not the same.
        spacing: median distance from a place to its nearest neighbour, metres; format 1 does not say.
        index: FAISS's factory string.
        effort: inverted lists that are searched, or candidates that a graph keeps; 0 where there are none.
        rerank: candidates that are ranked again by the stored descriptors; 0 where none are.
        files: the other files of the map by name.
        version: of vpr_ros, that wrote it.
        format: of the map.
    """

    encoder: str
    dimension: int
    places: int
    datum: Datum
    geotag_std: float
    unrelated: Spread
    spacing: float | None
    index: str = "Flat"
    effort: int = 0
    rerank: int = 0
    files: Mapping[str, FileSum] = field(default_factory=dict)
    version: str = ""
    format: int = FORMAT


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a map of this format or an older one.

    Raises InputError where there is none, or where it is damaged or of a newer format.
    """
    file = folder / MANIFEST
    if not file.is_file():
        raise InputError(f"{folder}: not a map (no {MANIFEST}): {_SHOULD}")
    try:
        read = json.loads(file.read_text())
        if read["format"] > FORMAT:
            raise InputError(
                f"{folder}: map format {read['format']}, this version reads up to {FORMAT}: "
                f"install vpr_ros {read.get('version')} or newer"
            )
        return _manifest(read)
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(f"{file}: damaged ({error}): build the map again") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a map whose other files stand in the folder."""
    written = {**asdict(manifest), "metric": METRIC}
    (folder / MANIFEST).write_text(json.dumps(written, indent=1))


def is_large(file: Path) -> bool:
    """Tell whether a file is memory-mapped, and summed only where all of a map is."""
    return file.stat().st_size > SUMMED_AT_OPEN


def check_files(folder: Path, manifest: Manifest) -> None:
    """Raise InputError for the first file that is not what the manifest says, as far as that is told at once.

    All sizes are checked, and the sums of small files; `damaged` sums them all. The pictures of format 1 are
    checked when they are looked at.
    """
    for name in manifest.files:
        if not _LOOSE_PICTURE.fullmatch(name):
            problem = _problem(folder, name, manifest, whole=False)
            if problem:
                raise InputError(f"{folder / name}: {problem}: copy the map again, or build it again")


def damaged(folder: Path, manifest: Manifest) -> list[str]:
    """Sum every file of a map; return a line for each that is not what the manifest says."""
    problems = ((name, _problem(folder, name, manifest, whole=True)) for name in manifest.files)
    return [f"{name}: {problem}" for name, problem in problems if problem]


def _problem(folder: Path, name: str, manifest: Manifest, whole: bool) -> str:
    file, expected = folder / name, manifest.files[name]
    if not file.is_file():
        return "missing"
    size = file.stat().st_size
    if expected.bytes is not None and size != expected.bytes:
        return f"damaged ({size} bytes, {MANIFEST} says {expected.bytes})"
    if (whole or not is_large(file)) and sum_of(file) != expected.sha256:
        return f"damaged (sha256 differs from {MANIFEST})"
    return ""


def _manifest(read: dict[str, Any]) -> Manifest:
    """Return what was read as a manifest; raises ValueError, KeyError or TypeError where it is none."""
    manifest = Manifest(
        encoder=_of(read, "encoder", str),
        dimension=_of(read, "dimension", int),
        places=_of(read, "places", int),
        datum=Datum(**_of(read, "datum", dict)),
        geotag_std=float(_of(read, "geotag_std", (int, float))),
        unrelated=Spread(**_of(read, "unrelated", dict)),
        spacing=None,
        version=str(read.get("version", "")),
        format=_of(read, "format", int),
    )
    if manifest.format == 1:
        sums = _of(read, "sha256", dict)
        manifest = replace(manifest, files={name: FileSum(None, sums[name]) for name in sums})
    else:
        files = _of(read, "files", dict)
        manifest = replace(
            manifest,
            spacing=float(_of(read, "spacing", (int, float))),
            index=_of(read, "index", str),
            effort=_of(read, "effort", int),
            rerank=_of(read, "rerank", int),
            files={name: FileSum(files[name]["bytes"], files[name]["sha256"]) for name in files},
        )
        if read["metric"] != METRIC:
            raise ValueError(f"metric is {read['metric']!r}, expected {METRIC!r}")
    _check_numbers(manifest)
    _check_names(manifest)
    return manifest


def _of(read: Mapping[str, Any], key: str, kind: type | tuple[type, ...]) -> Any:
    value = read[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{key} is {value!r}")
    return value


def _check_numbers(manifest: Manifest) -> None:
    datum, unrelated, spacing = manifest.datum, manifest.unrelated, manifest.spacing or 0.0
    numbers = (*astuple(datum), *astuple(unrelated), manifest.geotag_std, spacing)
    if not all(isinstance(number, (int, float)) and math.isfinite(number) for number in numbers):
        raise ValueError(f"{numbers} are not all finite numbers")
    if abs(datum.latitude) > 90 or abs(datum.longitude) > 180:
        raise ValueError(f"the datum lies at {datum.latitude}, {datum.longitude}")
    if not (unrelated.std > 0 and manifest.geotag_std > 0):
        raise ValueError("a standard deviation is not positive")
    if min(manifest.format, manifest.places, manifest.dimension) < 1:
        raise ValueError("format, places or dimension is not positive")
    if min(manifest.effort, manifest.rerank, spacing) < 0 or max(manifest.effort, manifest.rerank) >= 1 << 31:
        raise ValueError("effort, rerank or spacing cannot be")


def _check_names(manifest: Manifest) -> None:
    """Raise ValueError where the manifest names a file that is none of a map's, or leaves one out."""
    names = set(manifest.files)
    for name, file in manifest.files.items():
        if name not in _FILES and not (manifest.format == 1 and _LOOSE_PICTURE.fullmatch(name)):
            raise ValueError(f"{name!r} is no file of a map")
        if not (isinstance(file.sha256, str) and _SUM.fullmatch(file.sha256)):
            raise ValueError(f"the sha256 of {name} is {file.sha256!r}")
        if manifest.format > 1 and not (isinstance(file.bytes, int) and file.bytes >= 0):
            raise ValueError(f"the bytes of {name} are {file.bytes!r}")
    always = (INDEX, PLACES) if manifest.format == 1 else (INDEX, PLACES, NAMES, NAME_TABLE)
    together = ((PICTURES, PICTURE_TABLE), (PICTURE_TABLE, PICTURES))
    for needed in (*always, *(one for one, other in together if other in names)):
        if needed not in names:
            raise ValueError(f"{needed} is not among its files")
    if manifest.rerank and DESCRIPTORS not in names:
        raise ValueError(f"rerank is {manifest.rerank} without {DESCRIPTORS}")
