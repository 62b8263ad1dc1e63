"""The map: a folder with a FAISS index over descriptors, the places behind them, and a manifest.

A map is written whole or not at all: a crash at any byte leaves the old one or the new one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from vpr_ros.atomic_folder import files_below, replacing, standing
from vpr_ros.errors import InputError
from vpr_ros.folder import read_image
from vpr_ros.geodesy import Datum, to_enu
from vpr_ros.geotagged import COLUMNS, Image, Rows
from vpr_ros.pixels import compress
from vpr_ros.version import project_version

logger = logging.getLogger(__name__)

FORMAT = 1
MANIFEST = "manifest.json"
INDEX = "index.faiss"
PLACES = "places.npy"
IMAGES = "images"
#: Metres beyond which two places are taken to show nothing in common, and places that this is measured on.
UNRELATED, SAMPLE = 50.0, 1000
#: Where there is nothing to measure it on: what descriptors of 100 dimensions give by chance.
NO_SPREAD = (0.0, 0.1)
_SHOULD = "expected a map written by training/build_map.py"


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of the cosine similarity between unrelated places of a map."""

    mean: float
    std: float


@dataclass(frozen=True, eq=False)
class PlaceMap:
    """An open map.

    Attributes:
        folder: where it was opened.
        index: row i is place i; inner product of unit descriptors, so cosine similarity.
        places: (N,) rows of the geotagged-images table.
        enu: (N, 3) metres of the places about the datum.
        datum: origin of the map's local frame.
        geotag_std: standard deviation of a place's position, metres, each horizontal axis.
        unrelated: what similarity places have that are not the same.
        spacing: median distance from a place to its nearest neighbour, metres.
        fingerprint: of the encoder that it was built with.
    """

    folder: Path
    index: faiss.Index
    places: Rows
    enu: NDArray[np.float64]
    datum: Datum
    geotag_std: float
    unrelated: Spread
    spacing: float
    fingerprint: str
    sums: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.places)

    def search(
        self, descriptors: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the (M, k) similarities, falling, and place numbers of (M, P) descriptors.

        k is cut to the number of places.
        """
        return self.index.search(np.ascontiguousarray(descriptors, np.float32), min(k, len(self)))

    def similarities(self, descriptor: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the (M,) similarities of M places to one (P,) descriptor."""
        if not len(places):
            return np.empty(0, np.float32)
        return np.asarray(self.index.reconstruct_batch(places) @ descriptor, np.float32)

    def scores(self, descriptor: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return how much more than an unrelated place each of M places looks like one (P,) descriptor.

        In standard deviations of the similarity of unrelated places of the map, above the similarity that the
        descriptor has to places of the map in general: by night that is lower for right and wrong ones alike.
        """
        return self.scores_of(self.similarities(descriptor, places), descriptor)

    def scores_of(
        self, similarities: NDArray[np.float32], descriptor: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Return the scores that (M,) similarities to one (P,) descriptor are."""
        return np.asarray((similarities - self._centre @ descriptor) / self.unrelated.std, np.float64)

    @cached_property
    def _centre(self) -> NDArray[np.float32]:
        """The mean descriptor, of at most SAMPLE places."""
        return np.asarray(self.index.reconstruct_batch(_sample(len(self))).mean(axis=0), np.float32)

    @cached_property
    def ground(self) -> cKDTree:
        """The places by metres east and north, for what lies near a position."""
        return cKDTree(self.enu[:, :2])

    def image(self, place: int) -> Image | None:
        """Return the small picture of a place, or None where the map has none, or it is damaged."""
        name = _image_name(place)
        file = self.folder / name
        if name not in self.sums or not file.is_file() or _sum(file) != self.sums[name]:
            return None
        return read_image(file)


class MapBuilder:
    """Gathers places, then writes them as a map."""

    def __init__(
        self, fingerprint: str, dimension: int, geotag_std: float, datum: Datum | None = None
    ) -> None:
        """Begin an empty map.

        Args:
            fingerprint: of the encoder.
            dimension: P of its descriptors.
            geotag_std: metres, what is known of the geotags' error.
            datum: origin of the local frame; the first place where none is given.
        """
        self.fingerprint = fingerprint
        self.geotag_std = float(geotag_std)
        self.datum = datum
        self._index = faiss.IndexFlatIP(dimension)
        self._rows: list[Rows] = []
        self._pictures: list[bytes] = []

    @property
    def count(self) -> int:
        """The number of places so far."""
        return int(self._index.ntotal)

    def add(self, descriptors: NDArray[np.float32], rows: Rows, pictures: Sequence[Image] = ()) -> None:
        """Append N places: their (N, P) descriptors, rows, and small RGB pictures or none."""
        self._index.add(np.ascontiguousarray(descriptors, np.float32))
        self._rows.append(rows)
        self._pictures += [compress(picture) for picture in pictures]

    def write(self, folder: Path) -> None:
        """Write the map, replacing a map of that name, whole or not at all."""
        if not self.count:
            raise InputError(f"{folder}: no place to write: expected at least one geotagged image")
        places = np.concatenate(self._rows)
        check_replaceable(folder)
        with replacing(folder) as partial:
            (partial / INDEX).write_bytes(faiss.serialize_index(self._index).tobytes())
            np.save(partial / PLACES, places, allow_pickle=False)
            if self._pictures:
                (partial / IMAGES).mkdir()
            for place, picture in enumerate(self._pictures):
                (partial / _image_name(place)).write_bytes(picture)
            sums = {name: _sum(partial / name) for name in files_below(partial)}
            (partial / MANIFEST).write_text(json.dumps(self._manifest(places, sums), indent=1))

    def _manifest(self, places: Rows, sums: Mapping[str, str]) -> dict[str, Any]:
        datum = self.datum or _first_place(places)
        enu = to_enu(places["latitude"], places["longitude"], places["altitude"], datum)
        return {
            "format": FORMAT,
            "version": project_version(),
            "encoder": self.fingerprint,
            "dimension": self._index.d,
            "metric": "inner_product",
            "places": len(places),
            "datum": asdict(datum),
            "geotag_std": self.geotag_std,
            "unrelated": asdict(_unrelated(self._index, enu)),
            "sha256": dict(sums),
        }


def _first_place(places: Rows) -> Datum:
    latitude, longitude, altitude = (float(places[0][name]) for name in ("latitude", "longitude", "altitude"))
    return Datum(latitude, longitude, 0.0 if np.isnan(altitude) else altitude)


def _unrelated(index: faiss.Index, enu: NDArray[np.float64]) -> Spread:
    """Measure the similarity of places far from each other, on a sample of at most SAMPLE places."""
    count = len(enu)
    if count < 3:
        return Spread(*NO_SPREAD)
    sample = _sample(count)
    descriptors = index.reconstruct_batch(sample)
    similarities = descriptors @ descriptors.T
    distances = cdist(enu[sample, :2], enu[sample, :2])
    far = distances > min(UNRELATED, float(np.median(distances)))
    if not far.any():  # all on one spot
        return Spread(*NO_SPREAD)
    return Spread(float(similarities[far].mean()), max(float(similarities[far].std()), 1e-3))


def _sample(count: int) -> NDArray[np.int64]:
    """Return at most SAMPLE of `count` places, evenly chosen."""
    return np.unique(np.linspace(0, count - 1, min(count, SAMPLE)).astype(np.int64))


def check_replaceable(folder: Path) -> None:
    """Raise InputError where writing a map of that name would remove something else."""
    if (
        folder.exists()
        and not (folder / MANIFEST).is_file()
        and (not folder.is_dir() or any(folder.iterdir()))
    ):
        raise InputError(f"{folder}: exists and is not a map: name another folder, or remove it")


def open_map(folder: Path, fingerprint: str | None = None) -> PlaceMap:
    """Open a map after checking its manifest, sums and encoder.

    Args:
        folder: of the map.
        fingerprint: of the encoder that will search it; None leaves that unchecked.

    Raises:
        InputError: missing, damaged, of a newer format, or built with another encoder.
    """
    found = standing(folder)
    if found != folder:
        logger.warning("%s: its replacement was cut short: opening the previous map at %s", folder, found)
    manifest = _read_manifest(found)
    if fingerprint is not None and manifest["encoder"] != fingerprint:
        raise InputError(
            f"{found}: built with other weights ({manifest['encoder'][:12]}, these are {fingerprint[:12]}): "
            "name the weights it was built with, or build it again with these"
        )
    sums = manifest["sha256"]
    for name in (INDEX, PLACES):  # pictures are checked when they are looked at
        _check_sum(found / name, sums.get(name))
    places = _read_places(found / PLACES)
    index = _read_index(found / INDEX)
    if not len(places) == index.ntotal == manifest["places"] or index.d != manifest["dimension"]:
        raise InputError(
            f"{found}: {len(places)} places, {index.ntotal} descriptors of {index.d}; its manifest says "
            f"{manifest['places']} of {manifest['dimension']}: build it again"
        )
    datum = Datum(**manifest["datum"])
    enu = to_enu(places["latitude"], places["longitude"], places["altitude"], datum)
    return PlaceMap(
        found,
        index,
        places,
        enu,
        datum,
        float(manifest["geotag_std"]),
        Spread(**manifest["unrelated"]),
        _spacing(enu),
        manifest["encoder"],
        sums,
    )


def _read_manifest(folder: Path) -> dict[str, Any]:
    file = folder / MANIFEST
    if not file.is_file():
        raise InputError(f"{folder}: not a map (no {MANIFEST}): {_SHOULD}")
    try:
        manifest = json.loads(file.read_text())
        if manifest["format"] > FORMAT:
            raise InputError(
                f"{folder}: map format {manifest['format']}, this version reads up to {FORMAT}: "
                f"install vpr_ros {manifest.get('version')} or newer"
            )
        kinds: dict[str, type | tuple[type, ...]] = {
            "encoder": str,
            "dimension": int,
            "places": int,
            "datum": dict,
            "geotag_std": (int, float),
            "unrelated": dict,
            "sha256": dict,
        }
        for key, kind in kinds.items():
            if not isinstance(manifest[key], kind):
                raise TypeError(f"{key} is {manifest[key]!r}")
        _check_numbers(Datum(**manifest["datum"]), Spread(**manifest["unrelated"]), manifest["geotag_std"])
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: damaged ({error}): build the map again") from error
    return dict(manifest)


def _check_numbers(datum: Datum, unrelated: Spread, geotag_std: float) -> None:
    numbers = (*astuple(datum), *astuple(unrelated), geotag_std)
    if not all(isinstance(number, (int, float)) and math.isfinite(number) for number in numbers):
        raise ValueError(f"{numbers} are not all finite numbers")
    if abs(datum.latitude) > 90 or abs(datum.longitude) > 180:
        raise ValueError(f"the datum lies at {datum.latitude}, {datum.longitude}")
    if not (unrelated.std > 0 and geotag_std > 0):
        raise ValueError("a standard deviation is not positive")


def _read_index(file: Path) -> faiss.Index:
    try:
        return faiss.read_index(str(file))
    except RuntimeError as error:
        raise InputError(f"{file}: damaged or not a FAISS index: build the map again") from error


def _read_places(file: Path) -> Rows:
    try:
        places = np.load(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(f"{file}: damaged ({error}): build the map again") from error
    if places.dtype.names != tuple(COLUMNS):
        raise InputError(
            f"{file}: columns {places.dtype.names}, expected {tuple(COLUMNS)}: build the map again"
        )
    return np.asarray(places)


def _check_sum(file: Path, expected: str | None) -> None:
    if not file.is_file():
        raise InputError(f"{file}: missing: copy the map again, or build it again")
    if _sum(file) != expected:
        raise InputError(
            f"{file}: damaged (sha256 differs from {MANIFEST}): copy the map again, or build it again"
        )


def _spacing(enu: NDArray[np.float64]) -> float:
    if len(enu) < 2:
        return 0.0
    distances, _ = cKDTree(enu[:, :2]).query(enu[:, :2], k=2)
    return float(np.median(distances[:, 1]))


def _image_name(place: int) -> str:
    return f"{IMAGES}/{place:06d}.jpg"


def _sum(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
