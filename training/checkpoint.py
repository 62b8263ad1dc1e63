"""The state of a run on disk: whole or not at all, and nothing in it is executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from vpr_ros.atomic_file import replacing_file
from vpr_ros.errors import InputError, first_line

FORMAT = 1


def save_checkpoint(file: Path, state: dict[str, Any]) -> None:
    """Write tensors, numbers, strings, and lists and dicts of them."""
    with replacing_file(file) as partial:
        torch.save({"format": FORMAT, **state}, partial)


def load_checkpoint(file: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, to the CPU."""
    if not file.is_file():
        raise InputError(f"{file}: no checkpoint here: start the run without --resume")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises whatever its parser stumbles over
        raise InputError(
            f"{file}: damaged or no checkpoint ({first_line(error)}): start the run again, with another --out"
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise InputError(f"{file}: checkpoint format {found}, this version reads {FORMAT}: start a new run")
    return state
