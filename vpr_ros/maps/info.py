"""What a map is, in figures and in words."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.calibration import read_calibration
from vpr_ros.drives.sessions import Session, iso, sessions_of
from vpr_ros.errors import InputError
from vpr_ros.files.atomic_folder import PREPARED, beside, leftovers, writer
from vpr_ros.maps.box import box_around
from vpr_ros.maps.edit import sizes_of
from vpr_ros.maps.manifest import PICTURES
from vpr_ros.place_map import PlaceMap


def facts_of(place_map: PlaceMap, folder: Path) -> dict[str, Any]:
    """Return what a map is that was opened by the name of a folder, as JSON can hold it."""
    manifest, sizes = place_map.manifest, sizes_of(place_map)
    return {
        "map": str(folder),
        "places": len(place_map),
        "area": asdict(box_around(place_map.places)),
        "extent_km": np.round(np.ptp(place_map.enu[:, :2], axis=0) / 1e3, 3).tolist(),
        "datum": asdict(manifest.datum),
        "geotag_std": manifest.geotag_std,
        "spacing": round(place_map.spacing, 3),
        "sessions": [_session(session) for session in sessions_of(place_map.rows())],
        "encoder": manifest.encoder,
        "dimension": manifest.dimension,
        "index": manifest.index,
        "effort": manifest.effort,
        "rerank": manifest.rerank,
        "stored": place_map.stored.kind if place_map.stored is not None else None,
        "pictures": bool({PICTURES, "images"} & {*sizes}),  # a file, or a folder in format 1
        "files": sizes,
        "bytes_a_place": round(sum(sizes.values()) / len(place_map), 1),
        "calibration": _calibration(place_map),
        "format": manifest.format,
        "version": manifest.version,
    }


def told(facts: dict[str, Any]) -> str:
    """Return the facts in lines."""
    area, datum = facts["area"], facts["datum"]
    width, height = facts["extent_km"]
    lines = [
        f"{facts['map']}: {facts['places']} places, {sum(facts['files'].values()) / 1e6:.1f} MB, "
        f"{facts['bytes_a_place']:.0f} bytes a place; format {facts['format']}, vpr_ros {facts['version']}",
        f"area: {area['south']:.6f} {area['west']:.6f} {area['north']:.6f} {area['east']:.6f} "
        f"(south west north east), {width:.2f} x {height:.2f} km",
        f"datum: {datum['latitude']:.7f} {datum['longitude']:.7f} {datum['altitude']:.1f} m",
        f"positions: known to {facts['geotag_std']:g} m, {facts['spacing']:g} m to the next (median)",
        f"encoder: {facts['encoder'][:12]}, {facts['dimension']} dimensions",
        f"index: {facts['index']}" + _search(facts),
        "pictures: " + ("kept" if facts["pictures"] else "none"),
        "calibration: " + (facts["calibration"] or "none: probabilities are not to be trusted"),
        *(_line(session) for session in facts["sessions"]),
        *(f"file: {name}, {size / 1e6:.1f} MB" for name, size in facts["files"].items()),
    ]
    return "\n".join(lines)


def said_of_writers(folder: Path) -> list[str]:
    """Return lines about who writes a map, or was killed or interrupted while writing it."""
    lines = [
        f"{each}: left by a writer that was killed: the next one removes it" for each in leftovers(folder)
    ]
    if now := writer(folder):
        lines.append(f"{folder}: being written by {now}")
    elif (begun := beside(folder, PREPARED)).exists():
        lines.append(f"{begun}: images that are encoded: the command that was interrupted goes on with them")
    return lines


def _search(facts: dict[str, Any]) -> str:
    parts = [f", {facts['effort']} lists or candidates looked at"] * (facts["effort"] > 0)
    if facts["stored"]:
        parts.append(f", {facts['rerank']} ranked again by descriptors in {facts['stored']}")
    return "".join(parts)


def _session(session: Session) -> dict[str, Any]:
    return {
        "session": session.name,
        "places": len(session),
        "km": round(session.metres / 1e3, 3),
        "first": iso(session.first),
        "last": iso(session.last),
    }


def _line(session: dict[str, Any]) -> str:
    when = f"{session['first']} to {session['last']}" if session["first"] else "at unknown times"
    name = session["session"] or "(no name)"
    return f"session: {name}, {session['places']} places, {session['km']} km, {when}"


def _calibration(place_map: PlaceMap) -> str | None:
    try:
        found = read_calibration(place_map)
    except InputError as error:
        return str(error)
    return None if found is None else f"{found.drive}, {found.frames} frames"
