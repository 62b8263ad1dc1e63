"""The node's parameters: names, defaults, descriptions and ranges."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node

from vpr_ros.encoder import DEFAULT_WEIGHTS
from vpr_ros.engine import DEVICES
from vpr_ros.errors import InputError, first_line
from vpr_ros.localiser import Settings


def _parameter(
    default: Any, text: str, low: float | None = None, high: float | None = None, choices: str = ""
) -> Any:
    return field(default=default, metadata={"text": text, "low": low, "high": high, "choices": choices})


@dataclass(frozen=True)
class Parameters:
    """One field a parameter of the node; what each means is its description."""

    map: str = _parameter("", "Map folder, written by training/build_map.py")
    weights: str = _parameter("", "Weights file that the map was built with; empty: the model that ships")
    device: str = _parameter(
        "auto", "Where images are encoded; auto: the GPU where there is one", choices="auto|cuda|cpu"
    )
    compressed: bool = _parameter(
        False, "Subscribe image/compressed (CompressedImage) instead of image (Image)"
    )
    reliability: str = _parameter(
        "best_effort",
        "Of the image subscription; reliable matches only a reliable camera",
        choices="best_effort|reliable",
    )
    map_frame: str = _parameter(
        "map", "Frame of ~/pose and ~/hypotheses: east-north-up about the map's datum"
    )
    fix_frame: str = _parameter("", "Frame of ~/fix; empty: the image's frame_id")
    k: int = _parameter(Settings.k, "Places retrieved for each image", 1, 1000)
    precision: float = _parameter(
        Settings.precision,
        "Share of the answers published as ~/fix and ~/pose that shall be right, by the map's calibration",
        0.5,
        0.9999,
    )
    filter: bool = _parameter(
        Settings.filter, "Take the images before into account; off: each image is answered alone"
    )
    max_speed: float = _parameter(
        Settings.max_speed,
        "Metres a second that the robot drives at most, for the filter without odometry; 0: what the map was "
        "calibrated with",
        0.0,
        100.0,
    )
    use_odometry: bool = _parameter(
        False, "Subscribe odometry (nav_msgs/Odometry) and let the filter move by it"
    )

    def __post_init__(self) -> None:
        if not self.map:
            raise InputError("parameter 'map' is empty: name a folder written by training/build_map.py")
        if self.device.split(":")[0] not in DEVICES:
            raise InputError(f"parameter 'device' is '{self.device}': expected one of {', '.join(DEVICES)}")
        if self.reliability not in ("best_effort", "reliable"):
            raise InputError(
                f"parameter 'reliability' is '{self.reliability}': expected best_effort or reliable"
            )

    @property
    def settings(self) -> Settings:
        """What the localiser is told."""
        return Settings(self.k, self.precision, self.filter, self.max_speed)

    @property
    def map_folder(self) -> Path:
        """The map's folder, ~ expanded."""
        return _expanded(self.map)

    @property
    def weights_file(self) -> Path:
        """The weights' file, ~ expanded."""
        return _expanded(self.weights) if self.weights else DEFAULT_WEIGHTS


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path}: no such user's folder") from error


def declare(node: Node) -> Parameters:
    """Declare every parameter on the node and return their values; they are fixed while it runs."""
    try:
        values = {
            each.name: node.declare_parameter(each.name, each.default, _descriptor(each)).value
            for each in fields(Parameters)
        }
    except (InvalidParameterTypeException, InvalidParameterValueException) as error:
        raise InputError(first_line(error)) from error
    return Parameters(**values)


def _descriptor(each: Any) -> ParameterDescriptor:
    text, low, high, choices = (each.metadata[key] for key in ("text", "low", "high", "choices"))
    descriptor = ParameterDescriptor(description=text, read_only=True)
    if choices:
        descriptor.additional_constraints = f"one of {choices.replace('|', ', ')}"
    if low is not None and isinstance(each.default, int):
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
    elif low is not None:
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high))]
    return descriptor
