"""Whether a map is whole: every file read to its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from vpr_ros import calibration
from vpr_ros.errors import InputError
from vpr_ros.files.atomic_folder import files_below, read_whole
from vpr_ros.maps.manifest import MANIFEST, Manifest, damaged, read_manifest
from vpr_ros.place_map import PlaceMap, open_map


def wrong_with(folder: Path) -> list[str]:
    """Return a line for each file that is damaged, missing or not the map's, with a progress bar.

    Raises InputError where there is no map to begin with.
    """
    return read_whole(folder, _wrong_with)


def _wrong_with(folder: Path) -> list[str]:
    try:
        manifest = read_manifest(folder)
    except InputError as error:
        if not (folder / MANIFEST).is_file():
            raise
        return [str(error)]
    own = {MANIFEST, calibration.FILE, *manifest.files}
    wrong = [*_damaged(folder, manifest)]
    wrong += [f"{name}: no file of this map" for name in files_below(folder) if name not in own]
    if not wrong:
        try:
            open_map(folder)
        except InputError as error:
            return [str(error)]
    return wrong


def open_whole(folder: Path) -> PlaceMap:
    """Open a map after reading all of it: damage would get into another map with a sum of its own."""

    def opened(found: Path) -> PlaceMap:
        place_map = open_map(found)
        for line in _damaged(found, place_map.manifest):
            raise InputError(f"{found / line}: copy the map again, or build it again")
        return place_map

    return read_whole(folder, opened)


def _damaged(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Yield what `damaged` says, with a progress bar where it takes more than a second."""
    sizes = {name: (folder / name).stat().st_size for name in manifest.files if (folder / name).is_file()}
    with tqdm(total=sum(sizes.values()), desc="verifying", unit="B", unit_scale=True, delay=1) as progress:
        for name, file in manifest.files.items():
            yield from damaged(folder, replace(manifest, files={name: file}))
            progress.update(sizes.get(name, 0))
