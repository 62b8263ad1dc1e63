"""The life of a map: `python training/map.py COMMAND`; without a command it names them."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable
from json import dumps
from os.path import relpath
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vpr_ros.command import run_one_of
from vpr_ros.drives.sessions import sessions_of
from vpr_ros.errors import InputError
from vpr_ros.files.atomic_folder import changing
from vpr_ros.maps.box import Box
from vpr_ros.maps.edit import Merged, keep, merge_sources, whole, without_repeated
from vpr_ros.maps.geojson import write_geojson
from vpr_ros.maps.info import facts_of, said_of_writers, told
from vpr_ros.maps.redundant import repeated, spaced
from vpr_ros.maps.verify import open_whole, wrong_with
from vpr_ros.maps.writer import check_replaceable
from vpr_ros.pages.map_page import write_map_page
from vpr_ros.place_map import PlaceMap, open_map
from vpr_ros.sources import read_sources


def info(map: Path, json: Path | None = None) -> None:  # noqa: A002
    """Say what a map is: area, drives, index, files, calibration.

    Args:
        map: Folder of the map.
        json: Write it to this file, too.
    """
    facts = facts_of(open_map(map), map)
    print("\n".join([told(facts), *said_of_writers(map)]))
    if json is not None:
        json.write_text(dumps(facts, indent=1))


def verify(map: Path) -> None:  # noqa: A002
    """Read all of a map and name each file that is damaged, missing or none of its own; then exit with 1.

    Args:
        map: Folder of the map.
    """
    wrong = wrong_with(map)
    for line in said_of_writers(map):
        print(line)
    for line in wrong:
        print(f"{map}: {line}")
    if wrong:
        raise SystemExit(1)
    print(f"{map}: whole")


def merge(maps: list[Path], out: Path, supersede: float | None = None) -> None:
    """Write several maps of one encoder as one, about the datum of the first.

    A place that is in two of them is taken once. A session whose name an earlier map has gets a number.

    Args:
        maps: Folders of the maps, the earliest first.
        out: Folder of the new map; a map of that name is replaced, also one of those merged.
        supersede: Leave out the places of earlier maps that a later one has within so many metres, looking
            the same way: within 45 degrees, or unknown.
    """
    if len(maps) < 2:
        raise InputError(f"{len(maps)} maps named: expected at least two")
    _check_metres("supersede", supersede)
    check_replaceable(out)
    with changing(out):
        *earlier, latest = without_repeated(whole([open_whole(each) for each in maps]))
        merged = merge_sources(out, earlier, latest, latest.place_map.geotag_std, supersede)
        _tell(out, merged, sum(len(each.place_map) - each.count for each in (*earlier, latest)))


def add(
    map: Path,  # noqa: A002
    data: Path | list[Path],
    weights: Path | None = None,
    session: str | None = None,
    rows: str | None = None,
    image_topic: str | None = None,
    fix_topic: str | None = None,
    spacing: float = 1.0,
    max_fix_gap: float = 2.0,
    geotag_std: float = 2.0,
    supersede: float | None = None,
    device: str = "auto",
) -> None:
    """Add a new drive to a map. Interrupted or killed, the same command goes on from where it was.

    Args:
        map: Folder of the map; it is replaced.
        data: Folders of images (images.csv or EXIF), bags (rosbag2, MCAP, ROS 1) or public data sets.
        weights: Weights or ONNX model that the map was built with; the model that ships where none is named.
        session: Only the images of this session.
        rows: Only these images, start:stop:step; ::2 is every other one.
        image_topic: Of a bag with more than one image topic.
        fix_topic: Of a bag with more than one NavSatFix topic.
        spacing: Metres driven from one place to the next, of a drive; 0 keeps every image.
        max_fix_gap: Seconds without a fix above which a bag's images are left out.
        geotag_std: Standard deviation of the drive's geotags, metres, each horizontal axis.
        supersede: Leave out the places of the map that the drive has within so many metres, looking the same
            way: within 45 degrees, or unknown.
        device: auto, cuda or cpu.
    """
    _check_metres("geotag-std", geotag_std)
    _check_metres("supersede", supersede)
    # PyTorch takes seconds to import, and the other commands need it not
    from training.mapping.add_drive import encoded_beside, open_encoder  # noqa: PLC0415

    with changing(map):
        place_map = open_whole(map)
        encoder = open_encoder(weights, place_map)
        images = read_sources(data, session, rows, image_topic, fix_topic, max_fix_gap, spacing)
        known = repeated(place_map.rows(), images.rows)
        if known.all():
            raise InputError(f"{map}: has all {len(images)} images of {data} already")
        with encoded_beside(map, place_map, encoder, images.select(~known), data, device) as drive:
            merged = merge_sources(map, whole([place_map]), drive, geotag_std, supersede)
    _tell(map, merged, int(known.sum()))


def extract(map: Path, out: Path, box: tuple[float, float, float, float]) -> None:  # noqa: A002
    """Write the places of a map that lie in a box as a map.

    Args:
        map: Folder of the map.
        out: Folder of the new map; a map of that name is replaced.
        box: South west north east, degrees; west above east for a box across the antimeridian.
    """
    inside = Box(*box)
    _keep(map, out, lambda place_map: inside.holds(place_map.places), f"lies in {inside}")


def thin(map: Path, out: Path, metres: float) -> None:  # noqa: A002
    """Write a map without places that are close to another of the same session that looks the same way.

    Args:
        map: Folder of the map.
        out: Folder of the new map; a map of that name is replaced.
        metres: That the places of a session that look the same way, within 45 degrees, are apart at least.
    """
    _check_metres("metres", metres)

    def chosen(place_map: PlaceMap) -> NDArray[np.bool_]:
        kept = np.zeros(len(place_map), bool)
        for each in sessions_of(place_map.rows()):
            places = np.concatenate(each.stretches)
            kept[places] = spaced(place_map.places[places], metres)
        return kept

    _keep(map, out, chosen, "is left")


def drop(map: Path, session: list[str], out: Path) -> None:  # noqa: A002
    """Write a map without some of its sessions.

    Args:
        map: Folder of the map.
        session: Names of the sessions; * and ? stand for any text and any character.
        out: Folder of the new map; a map of that name is replaced.
    """

    def chosen(place_map: PlaceMap) -> NDArray[np.bool_]:
        sessions = place_map.rows()["session"]
        names = np.unique(sessions).tolist()
        gone: set[str] = set()
        for each in session:
            found = [each] if each in names else fnmatch.filter(names, each)
            if not found:
                raise InputError(f"{map}: no session '{each}': it has {', '.join(names)}")
            gone |= {*found}
        return ~np.isin(sessions, [*gone])

    _keep(map, out, chosen, "is of another session")


def export(map: Path, geojson: Path | None = None, pictures: Path | None = None) -> None:  # noqa: A002
    """Write a map's places and drives as GeoJSON, and their pictures as files.

    Args:
        map: Folder of the map.
        geojson: File for a GIS: a point for each place, a line for each drive.
        pictures: Folder for the pictures, JPEGs named by place; it must be empty or new.
    """
    if geojson is None and pictures is None:
        raise InputError("nothing to write: expected --geojson FILE or --pictures FOLDER")
    place_map = open_map(map)
    names: dict[int, Path] = {}
    if pictures is not None:
        names = _write_pictures(place_map, pictures)
        print(f"{pictures}: {len(names)} pictures of {len(place_map)} places")
    if geojson is not None:
        beside = geojson.resolve().parent
        write_geojson(geojson, place_map.rows(), {place: relpath(names[place], beside) for place in names})
        print(f"{geojson}: {len(place_map)} places")


def page(map: Path, out: Path = Path("map.html"), pictures: int = 500, gap: float = 5.0) -> None:  # noqa: A002
    """Write a page of a map: places from above, gaps, density, what positions are worth, pictures to click.

    Args:
        map: Folder of the map.
        out: The page, one HTML file that needs no network.
        pictures: On the page at most, evenly chosen along the drives.
        gap: A step so many times longer than the median one of its drive, and 10 m at least, is a gap.
    """
    if pictures < 0:
        raise InputError(f"--pictures {pictures}: expected 0 or more")
    if not 1 < gap < math.inf:
        raise InputError(f"--gap {gap:g}: expected more than 1 times the median step, such as 5")
    place_map = open_map(map)
    on = write_map_page(out, place_map, map.resolve().name, pictures, gap)
    what = f"{on.drawn} of {len(place_map)} places, {on.pictures} pictures, {on.gaps} gaps"
    print(f"{out}: {what}, {out.stat().st_size / 1e6:.1f} MB")


def _keep(map: Path, out: Path, chosen: Callable[[PlaceMap], NDArray[np.bool_]], what: str) -> None:  # noqa: A002
    """Write the places of a map that are chosen; where none is, say what none of them does."""
    check_replaceable(out)
    with changing(out):
        place_map = open_whole(map)
        places = chosen(place_map)
        if not places.any():
            raise InputError(f"{map}: none of its {len(place_map)} places {what}: no map was written")
        keep(place_map, places, out)
    print(f"{out}: {places.sum()} of {len(place_map)} places kept")


def _tell(out: Path, merged: Merged, repeated: int) -> None:
    left_out = f"{merged.superseded} superseded, {repeated} there already"
    print(f"{out}: {merged.places} places; left out: {left_out}")
    for name, new in merged.renamed.items():
        print(f"session '{name}' was the name of an earlier one: it is '{new}'")


def _write_pictures(place_map: PlaceMap, folder: Path) -> dict[int, Path]:
    """Write the pictures of a map into a new folder, and return their files by place."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists and is not empty: name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    names = {}
    for place in tqdm(range(len(place_map)), desc="writing pictures", unit="place", delay=1):
        picture = place_map.pictures.read(place) if place_map.pictures is not None else None
        if picture is not None:
            names[place] = folder.resolve() / f"{place:06d}.jpg"
            names[place].write_bytes(picture)
    return names


def _check_metres(option: str, metres: float | None) -> None:
    if metres is not None and not 0 < metres < math.inf:
        raise InputError(f"--{option} {metres:g}: expected a positive number of metres")


#: The commands, and what of each needs no option's name.
COMMANDS: dict[Callable[..., None], tuple[str, ...]] = {
    info: ("map",),
    verify: ("map",),
    merge: ("maps",),
    add: ("map",),
    extract: ("map",),
    thin: ("map",),
    drop: ("map",),
    export: ("map",),
    page: ("map",),
}

if __name__ == "__main__":
    run_one_of(COMMANDS, "The life of a map: look at it, put maps together, cut and thin them.")
