"""Which folders may be opened as a map when somebody on the network asks for it."""

from __future__ import annotations

from pathlib import Path

from vpr_ros.errors import InputError


def map_folder(name: str, root: str, at_start: str) -> Path:
    """Return the folder that the parameter `map` names, where it may be opened.

    With a root it must lie below that, links and `..` followed. Without one it must be the folder named at
    the start, which may have been replaced since.

    Raises:
        InputError: it is empty, may not be opened, or is no path at all.
    """
    if not name:
        raise InputError("parameter 'map' is empty: name a folder written by training/build_map.py")
    if not root:
        if name != at_start:
            raise InputError(
                f"map {name[:80]!r}: without the parameter map_root only the map named at the start may be "
                "loaded again: set map_root to the folder that holds your maps"
            )
        return expanded(name)
    try:
        folder, below = expanded(name).resolve(), expanded(root).resolve()
        within = below in folder.parents
    except (OSError, ValueError, RuntimeError) as error:  # a NUL, a loop of links
        raise InputError(f"map {name[:80]!r}: no path ({error})") from error
    if not within:
        raise InputError(f"map {name[:80]!r} does not lie below map_root '{root}'")
    return folder


def expanded(path: str) -> Path:
    """Return a path with ~ expanded; raises InputError where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path}: no such user's folder") from error
