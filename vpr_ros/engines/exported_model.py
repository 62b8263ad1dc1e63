"""An encoder of any make: an ONNX file, and a YAML file beside it that says what it takes and gives."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from vpr_ros.engines.onnx_file import external_files
from vpr_ros.errors import InputError, first_line
from vpr_ros.files.checksum import sum_of

SUFFIX, DESCRIPTION_SUFFIX = ".onnx", ".yaml"
CHANNELS = ("rgb", "bgr")
#: Bytes above which no description is read, and pixels and numbers above which none is believed.
MAX_BYTES, MAX_SIDE, MAX_DIMENSION = 1 << 16, 4096, 65536
_Three = tuple[float, float, float]


@dataclass(frozen=True)
class Description:
    """What the YAML file says; the model takes (B, 3, H, W), each channel less its mean, over its std."""

    dimension: int  # P, of a descriptor
    input_size: int | tuple[int, int]  # pixels: the shorter side, or height and width of every image
    mean: _Three  # of 0-1, in the order of the channels
    std: _Three
    channels: str = "rgb"
    name: str = ""  # for people
    fingerprint: str = ""  # of the weights that the model was checked against
    sha256: str = ""  # of the model


@dataclass(frozen=True)
class ExportedModel:
    """An ONNX file whose description has been read, and which refers to nothing outside its folder.

    Attributes:
        file: the ONNX file.
        says: its description.
        identity: of what it computes.
    """

    file: Path
    says: Description
    identity: str

    @property
    def dimension(self) -> int:
        """P, the length of a descriptor."""
        return self.says.dimension

    def fingerprint(self) -> str:
        """Return a sha256 that changes with all that changes descriptors.

        A model that training/export.py has checked has that of the weights: their maps are its maps.
        """
        return self.identity


def description_of(file: Path) -> Path:
    """Return where the description of an ONNX file is."""
    return file.with_suffix(DESCRIPTION_SUFFIX)


def read_exported(file: Path) -> ExportedModel:
    """Read what is said of an ONNX file, and sum it; it is not run yet.

    Raises InputError where file or description are missing, damaged or do not belong together.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such model: expected an ONNX file")
    says = read_description(description_of(file))
    sums = [sum_of(each) for each in (file, *external_files(file))]
    contents = sums[0] if len(sums) == 1 else sha256("".join(sums).encode()).hexdigest()
    if says.sha256 not in ("", contents):
        raise InputError(
            f"{file}: changed since {description_of(file).name} was written: export it again, or copy both"
        )
    computes = {
        key: value for key, value in asdict(says).items() if key not in ("name", "fingerprint", "sha256")
    }
    digest = sha256(json.dumps([computes, contents], sort_keys=True).encode())
    return ExportedModel(file, says, says.fingerprint or digest.hexdigest())


def read_description(file: Path) -> Description:
    """Read a description; raises InputError for one that is missing, damaged or cannot be."""
    if not file.is_file():
        raise InputError(
            f"{file}: no such file: expected dimension, input_size, mean and std of the model beside it "
            "(docs/other-encoders.md)"
        )
    try:
        with file.open("rb") as opened:
            said = yaml.safe_load(opened.read(MAX_BYTES))
        return _checked(said)
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(
            f"{file}: not a description of a model ({first_line(error)}): see docs/other-encoders.md"
        ) from error


def write_description(file: Path, says: Description) -> None:
    """Write a description; what is at its default is left out."""
    said = {each.name: getattr(says, each.name) for each in fields(says)}
    kept = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in said.items()
        if value != ""
    }
    file.write_text(yaml.safe_dump(kept, sort_keys=False, default_flow_style=None))


def _checked(said: Any) -> Description:
    known = {each.name for each in fields(Description)}
    if not isinstance(said, dict):
        raise TypeError("expected names and values")
    if unknown := [key for key in said if key not in known]:
        raise ValueError(f"unknown '{unknown[0]}', expected {', '.join(sorted(known))}")
    if missing := [key for key in ("dimension", "input_size", "mean", "std") if key not in said]:
        raise ValueError(f"no '{missing[0]}'")
    sides = said["input_size"]
    size = _whole("input_size", sides, MAX_SIDE) if isinstance(sides, int) else _height_and_width(sides)
    mean, std = _three("mean", said["mean"]), _three("std", said["std"])
    if min(std) <= 0:
        raise ValueError("std is not positive")
    texts = {key: said.get(key, "") for key in ("name", "fingerprint", "sha256")}
    texts["channels"] = said.get("channels", CHANNELS[0])
    for key, text in texts.items():
        if not isinstance(text, str):
            raise TypeError(f"{key} is {text!r:.40}, expected text")
    if texts["channels"] not in CHANNELS:
        raise ValueError(f"channels is '{texts['channels']:.40}', expected {' or '.join(CHANNELS)}")
    if texts["fingerprint"] and not texts["sha256"]:
        raise ValueError("a fingerprint without the sha256 of the model that has it")
    return Description(_whole("dimension", said["dimension"], MAX_DIMENSION), size, mean, std, **texts)


def _whole(key: str, value: Any, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ValueError(f"{key} is {value!r:.40}, expected a whole number from 1 to {most}")
    return value


def _height_and_width(value: Any) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"input_size is {value!r:.40}, expected the shorter side, or [height, width]")
    return _whole("height", value[0], MAX_SIDE), _whole("width", value[1], MAX_SIDE)


def _three(key: str, value: Any) -> _Three:
    numbers = isinstance(value, list) and all(
        type(each) in (int, float) and math.isfinite(each) for each in value
    )
    if not numbers or len(value) != 3:
        raise ValueError(f"{key} is {value!r:.40}, expected three numbers")
    return float(value[0]), float(value[1]), float(value[2])
