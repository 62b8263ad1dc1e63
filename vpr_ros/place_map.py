"""The map: a folder with a FAISS index over descriptors, the places behind them, and a manifest."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from vpr_ros.errors import InputError, first_line
from vpr_ros.files.array_file import read_array
from vpr_ros.files.atomic_folder import read_whole
from vpr_ros.geodesy import Datum, heading_to_yaw, to_enu
from vpr_ros.geotagged import Image, Rows, make_rows
from vpr_ros.images.pixels import rgb_from_file
from vpr_ros.maps.index import inner, is_flat, keeps_descriptors, reconstructed, rotated, set_effort
from vpr_ros.maps.index_file import read_index
from vpr_ros.maps.manifest import (
    CENTRE,
    DESCRIPTORS,
    INDEX,
    NAMES,
    PICTURES,
    PLACES,
    Manifest,
    Spread,
    check_files,
    is_large,
    read_manifest,
)
from vpr_ros.maps.names import Names
from vpr_ros.maps.pictures import LoosePictures, Pictures
from vpr_ros.maps.places import NUMBERS, read_places
from vpr_ros.maps.search import alone, best, compare, inner_products, nearest
from vpr_ros.maps.statistics import evenly, spacing_of
from vpr_ros.maps.stored_descriptors import DescriptorFile

logger = logging.getLogger(__name__)

Places = NDArray[np.int64]
#: Places that are looked at at a time; those among which a search compares with each.
BLOCK, FEW = 8192, 5000


@dataclass(frozen=True, eq=False)
class PlaceMap:
    """An open map.

    Attributes:
        folder: where it was opened.
        manifest: what it says of itself.
        index: row i is place i; inner product of unit descriptors, so cosine similarity.
        places: (N,) rows of the geotagged-images table; in `rows` their image and session, too.
        stored: the descriptors beside the index, where they are kept.
        pictures: the JPEGs of the places, where they are kept.
        names: their images and sessions, where `places` is without.
        centre: mean of what `search` compares with, of a sample of the places; format 1 does not say.
    """

    folder: Path
    manifest: Manifest
    index: faiss.Index
    places: Rows
    stored: DescriptorFile | None = None
    pictures: Pictures | LoosePictures | None = None
    names: Names | None = None
    centre: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.places)

    @property
    def shape(self) -> tuple[int, int]:
        """Places, and dimensions of their descriptors."""
        return self.manifest.places, self.manifest.dimension

    @cached_property
    def compares_descriptors(self) -> bool:
        """Whether similarities are those of the descriptors that it was built of, rounded at most."""
        return self._ranks_again or keeps_descriptors(self.index)

    @property
    def datum(self) -> Datum:
        """Origin of the map's local frame."""
        return self.manifest.datum

    @property
    def geotag_std(self) -> float:
        """Standard deviation of a place's position, metres, each horizontal axis."""
        return self.manifest.geotag_std

    @property
    def unrelated(self) -> Spread:
        """What similarity places have that are not the same."""
        return self.manifest.unrelated

    @property
    def fingerprint(self) -> str:
        """Of the encoder that it was built with."""
        return self.manifest.encoder

    @cached_property
    def spacing(self) -> float:
        """Median distance from a place to its nearest neighbour, metres."""
        return spacing_of(self.enu) if self.manifest.spacing is None else self.manifest.spacing

    @cached_property
    def enu(self) -> NDArray[np.float64]:
        """(N, 3) metres of the places about the datum."""
        enu = np.empty((len(self), 3))
        for start in range(0, len(self), BLOCK):
            rows = self.places[start : start + BLOCK]
            enu[start : start + BLOCK] = to_enu(
                rows["latitude"], rows["longitude"], rows["altitude"], self.datum
            )
        return enu

    @cached_property
    def yaw(self) -> NDArray[np.float64]:
        """(N,) radians counter-clockwise from east that the places look to; NaN where unknown."""
        return heading_to_yaw(self.places["heading"])

    @cached_property
    def ground(self) -> cKDTree:
        """The places by metres east and north, for what lies near a position."""
        return cKDTree(self.enu[:, :2])

    def search(
        self, descriptors: NDArray[np.float32], k: int, within: Places | None = None
    ) -> tuple[NDArray[np.float32], Places]:
        """Return the (M, k) similarities, falling, and place numbers of (M, P) descriptors.

        Exact where the index is flat. Of another, what it finds, ranked again by the stored descriptors where
        the map has them; where it finds fewer than k, all places are compared.

        Args:
            descriptors: of unit length.
            k: is cut to the number of places.
            within: the only places that count; all of them where it is None.
        """
        queries = np.ascontiguousarray(descriptors, np.float32)
        chosen = None if within is None else np.unique(within)
        count = len(self) if chosen is None else len(chosen)
        k = min(k, count)
        if not k:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        with alone(len(queries), math.prod(self.shape)):
            if self._is_flat and chosen is None:  # the shortest way for a small map
                similarities, places = self.index.search(queries, k)
            elif chosen is not None and count <= FEW:
                return compare(lambda some: self._products(queries, some), len(queries), chosen, k)
            else:
                rough = min(max(k, self.manifest.rerank), count)
                similarities, places = nearest(self.index, queries, rough, chosen)
        if self._ranks_again:
            for query, row, found in zip(queries, similarities, places, strict=True):
                there = found >= 0
                row[there] = self.similarities(query, found[there])
            similarities, places = best(similarities, places, k)
        lacking = places[:, k - 1] < 0
        if lacking.any():
            asked, every = queries[lacking], np.arange(count) if chosen is None else chosen
            compared = compare(lambda some: self._products(asked, some), len(asked), every, k)
            similarities[lacking, :k], places[lacking, :k] = compared
        return similarities[:, :k], places[:, :k]

    def similarities(self, descriptor: NDArray[np.float32], places: Places) -> NDArray[np.float32]:
        """Return the (M,) similarities of M places to one (P,) descriptor."""
        if not len(places):
            return np.empty(0, np.float32)
        if self._is_flat:
            return np.asarray(self.index.reconstruct_batch(places) @ descriptor, np.float32)
        return np.asarray(self._products(descriptor[None], places)[0])

    def scores(self, descriptor: NDArray[np.float32], places: Places) -> NDArray[np.float64]:
        """Return how much more than an unrelated place each of M places looks like one (P,) descriptor.

        In standard deviations of the similarity of unrelated places of the map, above the similarity that the
        descriptor has to places of the map in general: by night that is lower for right and wrong ones alike.
        """
        return self.scores_of(self.similarities(descriptor, places), descriptor)

    def scores_of(
        self, similarities: NDArray[np.float32], descriptor: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Return the scores that (M,) similarities to one (P,) descriptor are."""
        query = descriptor if self.compares_descriptors else rotated(self.index, descriptor[None])[0]
        return np.asarray((similarities - self._centre @ query) / self.unrelated.std, np.float64)

    def descriptors(self, places: Places) -> NDArray[np.float32]:
        """Return the (M, P) descriptors of M places, of unit length, as nearly as the map has them."""
        if self.stored is not None and not keeps_descriptors(self.index):
            return self.stored.rows(places)
        with self._readable():
            descriptors = reconstructed(self.index, places)
        if keeps_descriptors(self.index):
            return descriptors
        norms = np.linalg.norm(descriptors, axis=1, keepdims=True)
        return np.asarray(descriptors / np.maximum(norms, np.finfo(np.float32).tiny))

    def blocks(self, size: int = BLOCK) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield the number of the first of up to `size` places, and their (n, P) descriptors."""
        for start in range(0, len(self), size):
            yield start, self.descriptors(np.arange(start, min(start + size, len(self))))

    def rows(self, places: Places | None = None) -> Rows:
        """Return the (M,) whole rows of M places, or of all; raises InputError where they are damaged."""
        places = np.arange(len(self)) if places is None else places
        rows = self.places[places]
        if self.names is None:
            return rows
        numbers = {name: rows[name] for name in NUMBERS.names or ()}
        return make_rows(str(self.folder / PLACES), **numbers, **self.names.of(places))

    def image(self, place: int) -> Image | None:
        """Return the small picture of a place, or None where the map has none, or it is damaged."""
        picture = self.pictures.read(place) if self.pictures is not None else None
        try:
            return None if picture is None else rgb_from_file(picture)
        except InputError:
            return None

    @cached_property
    def _is_flat(self) -> bool:
        return is_flat(self.index)

    @cached_property
    def _ranks_again(self) -> bool:
        return self.stored is not None and self.manifest.rerank > 0 and not keeps_descriptors(self.index)

    @cached_property
    def _centre(self) -> NDArray[np.float32]:
        if self.centre is not None:
            return self.centre
        return np.asarray(self.descriptors(evenly(len(self))).mean(axis=0), np.float32)

    def _products(self, queries: NDArray[np.float32], places: Places) -> NDArray[np.float32]:
        """Return the (M, W) similarities of (M, P) descriptors to W places, as `search` ranks by."""
        if self._ranks_again and self.stored is not None:
            return np.asarray(queries @ self.stored.rows(places).T)
        with self._readable():
            return inner_products(self.index, queries, places)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Name the file where FAISS finds that the index does not hold what it should."""
        try:
            yield
        except RuntimeError as error:
            raise InputError(
                f"{self.folder / INDEX}: damaged ({first_line(error)}): copy the map again, or build it again"
            ) from error


def open_map(folder: Path, fingerprint: str | None = None, memory_mapped: bool = True) -> PlaceMap:
    """Open a map after checking its manifest, sums and encoder.

    Args:
        folder: of the map.
        fingerprint: of the encoder that will search it; None leaves that unchecked.
        memory_mapped: whether large files are read only where they are looked at. Small ones are read whole:
            that outlives whatever is done to them later.

    Raises:
        InputError: missing, damaged, of a newer format, or built with another encoder.
    """
    place_map = read_whole(folder, lambda found: _open(found, fingerprint, memory_mapped))
    if place_map.folder != folder:
        logger.warning(
            "%s: its replacement was cut short: opening the previous map at %s", folder, place_map.folder
        )
    return place_map


def _open(found: Path, fingerprint: str | None, memory_mapped: bool) -> PlaceMap:
    manifest = read_manifest(found)
    if fingerprint is not None and manifest.encoder != fingerprint:
        raise InputError(
            f"{found}: built with other weights ({manifest.encoder[:12]}, these are {fingerprint[:12]}): "
            "name the weights it was built with, or build it again with these"
        )
    check_files(found, manifest)
    places = read_places(found, manifest.format == 1, memory_mapped and is_large(found / PLACES))
    index = read_index(found / INDEX, memory_mapped and is_large(found / INDEX))
    if not len(places) == index.ntotal == manifest.places or index.d != manifest.dimension:
        raise InputError(
            f"{found}: {len(places)} places, {index.ntotal} descriptors of {index.d}; its manifest says "
            f"{manifest.places} of {manifest.dimension}: build it again"
        )
    set_effort(index, manifest.effort)
    stored = DescriptorFile(found) if DESCRIPTORS in manifest.files else None
    if stored is not None and stored.shape != (manifest.places, manifest.dimension):
        raise InputError(f"{found}: {stored.shape} stored descriptors: build it again")
    pictures: Pictures | LoosePictures | None = None
    if manifest.format == 1:
        pictures = LoosePictures(found, manifest)
    elif PICTURES in manifest.files:
        pictures = Pictures(found)
    names = Names(found, len(places)) if NAMES in manifest.files else None
    centre = read_array(found / CENTRE) if CENTRE in manifest.files else None
    place_map = PlaceMap(found, manifest, index, places, stored, pictures, names, centre)
    _check_centre(place_map)
    return place_map


def _check_centre(place_map: PlaceMap) -> None:
    centre = place_map.centre
    expected = (place_map.index if place_map.compares_descriptors else inner(place_map.index)).d
    if centre is not None and (centre.shape != (expected,) or centre.dtype != np.float32):
        raise InputError(
            f"{place_map.folder / CENTRE}: {centre.dtype} of shape {centre.shape}: build the map again"
        )
