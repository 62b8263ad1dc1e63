"""The weights file: named tensors and, as JSON, what they are the tensors of. Nothing in it is executed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vpr_ros.errors import InputError, first_line
from vpr_ros.files.atomic_file import replacing_file
from vpr_ros.version import project_version

#: Written into every weights file; a file with a higher number is refused.
FORMAT = 1
#: The architecture of weights that are no network's; a network's file names none.
HAND_CRAFTED = "hand-crafted"
_KEY = "vpr_ros"


def write_weights(
    file: Path, module: nn.Module, architecture: Mapping[str, Any], trained_on: str, half: bool = False
) -> None:
    """Write a weights file, whole or not at all.

    Args:
        file: ends in .safetensors.
        module: whose tensors are written.
        architecture: what they are the tensors of, as JSON can hold it.
        trained_on: in words, for whoever finds the file in a year.
        half: store half precision.
    """
    metadata = {"format": FORMAT, **architecture, "trained_on": trained_on, "version": project_version()}
    tensors = {
        name: (tensor.half() if half else tensor).detach().cpu().contiguous()
        for name, tensor in module.state_dict().items()
    }
    try:
        with replacing_file(file) as partial:
            save_file(tensors, partial, metadata={_KEY: json.dumps(metadata)})
            partial.chmod(0o644)  # safetensors makes it readable to its owner alone
    except SafetensorError as error:
        raise InputError(f"{file}: could not be written ({first_line(error)})") from error


def read_weights(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return what a weights file says of itself, and its tensors as float32.

    Raises InputError for a file that is missing, damaged, or of another program.
    """
    expected = "expected weights written by training/train.py"
    if not file.is_file():
        raise InputError(f"{file}: no such weights file: {expected}")
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = json.loads((opened.metadata() or {}).get(_KEY, "null"))
            tensors = {name: opened.get_tensor(name).float() for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{file}: damaged or not safetensors ({error}): {expected}; copy it again"
        ) from error
    if not isinstance(metadata, dict):
        raise InputError(f"{file}: not a vpr_ros weights file (no '{_KEY}' metadata): import it first")
    if metadata.get("format") != FORMAT:
        raise InputError(
            f"{file}: weights format {metadata.get('format')}, this version reads {FORMAT}: "
            f"install vpr_ros {metadata.get('version')} or newer"
        )
    return metadata, tensors


def weights_metadata(file: Path) -> dict[str, Any]:
    """Return what the weights file says of itself: architecture, trained_on, version."""
    with safe_open(file, framework="pt") as opened:
        metadata: dict[str, Any] = json.loads((opened.metadata() or {}).get(_KEY, "{}"))
    return metadata


def named_architecture(file: Path) -> object:
    """Return the architecture that a weights file names; None where it names none, or cannot be read."""
    try:
        metadata = weights_metadata(file)
    except (SafetensorError, OSError, ValueError, RecursionError):
        return None
    return metadata.get("architecture") if isinstance(metadata, dict) else None


def check_tensors(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], file: Path) -> None:
    """Raise InputError unless the tensors of a file are these, of these shapes, and finite."""
    check_shapes(tensors, shapes, file)
    if unknown := sorted(set(tensors) - set(shapes)):
        raise InputError(f"{file}: its metadata does not explain its tensor '{unknown[0]}': train it again")
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{file}: '{name}' holds values that are not finite: train it again")


def check_shapes(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], file: Path) -> None:
    """Raise InputError unless a file has these tensors, of these shapes."""
    for name, shape in shapes.items():
        if name not in tensors:
            raise InputError(
                f"{file}: has no tensor '{name}': another architecture, or incomplete: copy it again"
            )
        if tensors[name].shape != shape:
            said, found = tuple(shape), tuple(tensors[name].shape)
            raise InputError(f"{file}: '{name}' is {found}, its metadata says {said}: train it again")


def fingerprint_of(module: nn.Module, architecture: Mapping[str, Any]) -> str:
    """Return a sha256 of the architecture and of the tensors, to half precision.

    It changes with all that changes descriptors by more than rounding does.
    """
    digest = hashlib.sha256(json.dumps(architecture, sort_keys=True).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        # so that a file stored as halves has its float32 twin's fingerprint
        digest.update(tensor.detach().cpu().half().contiguous().numpy().tobytes())
    return digest.hexdigest()
