"""The state of a run on disk: whole or not at all, and nothing in it is executed."""

from __future__ import annotations

from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from vpr_ros.errors import InputError, first_line
from vpr_ros.files.atomic_file import replacing_file

FORMAT = 1
#: Bytes of the sum at the end of the file.
DIGEST = sha256().digest_size


def save_checkpoint(file: Path, state: dict[str, Any]) -> None:
    """Write tensors, numbers, strings, and lists and dicts of them."""
    content = BytesIO()
    torch.save({"format": FORMAT, **state}, content)
    with replacing_file(file) as partial:
        partial.write_bytes(content.getbuffer())
        with partial.open("ab") as end:  # torch does not look at its own sums
            end.write(sha256(content.getbuffer()).digest())


def load_checkpoint(file: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, to the CPU."""
    if not file.is_file():
        raise InputError(f"{file}: no checkpoint here: start the run without --resume")
    written = memoryview(file.read_bytes())
    content, digest = written[:-DIGEST], written[-DIGEST:]
    cure = "start the run again, with another --out"
    if sha256(content).digest() != digest:
        raise InputError(f"{file}: damaged or no checkpoint (its sum is another): {cure}")
    try:
        state = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever its parser stumbles over, code that it refuses included
        raise InputError(f"{file}: damaged or no checkpoint ({first_line(error)}): {cure}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise InputError(f"{file}: checkpoint format {found}, this version reads {FORMAT}: start a new run")
    return state
