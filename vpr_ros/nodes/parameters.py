"""The node's parameters: names, defaults, descriptions and ranges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from vpr_ros.encoder import DEFAULT_WEIGHTS
from vpr_ros.engine import DEVICES
from vpr_ros.errors import InputError, first_line
from vpr_ros.images.pixels import MAX_PIXELS
from vpr_ros.localiser import Settings
from vpr_ros.nodes.map_root import expanded, map_folder
from vpr_ros.prior import Prior, around
from vpr_ros.sequence_filter import FORGET


def _fixed(default: Any, text: str, choices: str = "") -> Any:
    """A parameter that is fixed while the node runs."""
    told = {"text": text, "low": None, "high": None, "choices": choices, "fixed": True}
    return field(default=default, metadata=told)


def _parameter(default: Any, text: str, low: float | None = None, high: float | None = None) -> Any:
    """A parameter that may be set at any time."""
    told = {"text": text, "low": low, "high": high, "choices": "", "fixed": False}
    return field(default=default, metadata=told)


@dataclass(frozen=True)
class Parameters:
    """One field a parameter of the node; what each means is its description."""

    map: str = _parameter(
        "",
        "Map folder, written by training/build_map.py; must be named. A new one is opened by configure and "
        "by the service ~/load_map",
    )
    map_root: str = _fixed(
        "", "Folder below which map must lie; empty: only the map named at the start may be opened"
    )
    weights: str = _fixed(
        "",
        "Weights file, or ONNX model with its YAML file, that the map was built with; empty: the model that "
        "ships",
    )
    device: str = _fixed(
        "auto", "Where images are encoded; auto: the GPU where there is one", choices="auto|cuda|cpu"
    )
    bfloat16: bool = _fixed(
        True,
        "On a CPU that is faster at it, which is tried out at the start, AlexNet computes in bfloat16, all "
        "but its first layer",
    )
    out_of_memory: str = _fixed(
        "cpu",
        "What to do when the GPU's memory is used up; cpu: encode there from then on; error: the image fails",
        choices="cpu|error",
    )
    autostart: bool = _fixed(True, "Configure and activate itself; off: wait for a lifecycle manager")
    compressed: bool = _fixed(False, "Subscribe image/compressed (CompressedImage) instead of image (Image)")
    reliability: str = _fixed(
        "best_effort",
        "Of the image subscription; best_effort hears every camera, reliable only a reliable one",
        choices="best_effort|reliable",
    )
    max_pixels: int = _parameter(
        MAX_PIXELS, "Pixels of the largest image that is decoded; larger ones are refused", 1, 2**30
    )
    map_frame: str = _fixed("map", "Frame of ~/pose and ~/hypotheses: east-north-up about the map's datum")
    fix_frame: str = _fixed("", "Frame of ~/fix; empty: the image's frame_id")
    k: int = _parameter(Settings.k, "Places retrieved for each image", 1, 1000)
    precision: float = _parameter(
        Settings.precision,
        "Share of the answers published as ~/fix and ~/pose that shall be right, by the map's calibration "
        "(training/calibrate.py)",
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
    use_odometry: bool = _fixed(False, "Subscribe odometry (nav_msgs/Odometry) and let the filter move by it")
    prior: Sequence[float] = _parameter(
        (0.0, 0.0, 0.0),
        "Where the robot is: latitude and longitude in degrees, and their standard deviation in metres; only "
        "places within reach of that are searched, all where the three are 0. With decimal points",
    )
    use_prior: bool = _fixed(
        False,
        f"Subscribe prior (sensor_msgs/NavSatFix), which counts before the parameter for {FORGET:g} s after "
        "its stamp",
    )
    max_rate: float = _parameter(0.0, "Images a second that are answered at most; 0: all", 0.0, 1000.0)
    image_timeout: float = _parameter(
        2.0, "Seconds without an image after which /diagnostics warn; 0: never", 0.0, 3600.0
    )
    publish_single: bool = _parameter(True, "Publish ~/single/hypotheses while the filter is on")
    publish_poses: bool = _parameter(True, "Publish ~/hypothesis_poses")

    def __post_init__(self) -> None:
        if self.device.split(":")[0] not in DEVICES:
            raise InputError(f"parameter 'device' is '{self.device}': expected one of {', '.join(DEVICES)}")
        for each in fields(self):
            value, choices = getattr(self, each.name), each.metadata["choices"].split("|")
            if each.name != "device" and choices != [""] and value not in choices:
                raise InputError(f"parameter '{each.name}' is '{value}': expected {' or '.join(choices)}")
        try:
            self.given_prior  # noqa: B018
        except InputError as error:
            raise InputError(f"parameter 'prior': {error}") from error

    @property
    def given_prior(self) -> Prior | None:
        """Where `prior` says that the robot is."""
        return around(self.prior or ())  # an empty array in a parameter file is None to rclpy

    @property
    def settings(self) -> Settings:
        """What the localiser is told."""
        return Settings(self.k, self.precision, self.filter, self.max_speed)

    @property
    def weights_file(self) -> Path:
        """The weights' file, ~ expanded."""
        return expanded(self.weights) if self.weights else DEFAULT_WEIGHTS


class NodeParameters:
    """The parameters of a node: declared on it, then changed by whoever sets them, all of a set or none.

    Attributes:
        now: their values.
    """

    def __init__(self, node: Node) -> None:
        self.now = declare(node)
        self._map_at_start = self.now.map
        node.add_on_set_parameters_callback(self._on_set)

    @property
    def map_folder(self) -> Path:
        """The folder that `map` names, where it may be opened; raises InputError where not."""
        return map_folder(self.now.map, self.now.map_root, self._map_at_start)

    def _on_set(self, changes: Iterable[Parameter]) -> SetParametersResult:
        # types, ranges and what is fixed have been checked before, and nobody can refuse the set after
        changed = {each.name: each.value for each in changes if each.name in _NAMES}
        try:
            values = replace(self.now, **changed)
            if "map" in changed:
                map_folder(values.map, values.map_root, self._map_at_start)
        except InputError as error:
            return SetParametersResult(successful=False, reason=first_line(error))
        self.now = values
        return SetParametersResult(successful=True)


_NAMES = frozenset(each.name for each in fields(Parameters))


def declare(node: Node) -> Parameters:
    """Declare every parameter on the node and return their values."""
    try:
        values = {
            each.name: node.declare_parameter(each.name, each.default, _descriptor(each)).value
            for each in fields(Parameters)
        }
    except (InvalidParameterTypeException, InvalidParameterValueException) as error:
        raise InputError(first_line(error)) from error
    return Parameters(**values)


def _descriptor(each: Any) -> ParameterDescriptor:
    text, low, high, choices, fixed = (
        each.metadata[key] for key in ("text", "low", "high", "choices", "fixed")
    )
    descriptor = ParameterDescriptor(description=text, read_only=fixed)
    constraints = [f"one of {choices.replace('|', ', ')}"] if choices else []
    constraints += ["fixed while the node runs"] if fixed else []
    descriptor.additional_constraints = "; ".join(constraints)
    if low is not None and isinstance(each.default, int):
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
    elif low is not None:
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high))]
    return descriptor
