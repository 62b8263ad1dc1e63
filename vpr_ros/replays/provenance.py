"""What a report was made with, so that it can be made again."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from vpr_ros.calibration import Calibration
from vpr_ros.place_map import PlaceMap
from vpr_ros.version import project_version

#: The packages that what comes out depends on.
PACKAGES = ("torch", "torchvision", "numpy", "faiss-cpu", "opencv-python-headless", "onnxruntime")


def provenance(
    place_map: PlaceMap,
    calibration: Calibration | None,
    weights: Path | None,
    parameters: Mapping[str, object],
) -> dict[str, dict[str, object]]:
    """Return facts under headings, each a name and a value.

    Args:
        place_map: that was searched.
        calibration: of the map.
        weights: file of the encoder; None where a node that runs already has its own.
        parameters: of the localiser; likewise none.
    """
    facts: dict[str, dict[str, object]] = {
        "Versions": {
            "vpr_ros": project_version(),
            "Python": platform.python_version(),
            **{name: found for name in PACKAGES if (found := _version(name))},
        },
        "Map and weights": {
            "map": place_map.folder,
            "places": len(place_map),
            "metres between places": f"{place_map.spacing:.2f}",
            "encoder": place_map.fingerprint[:12],
        },
        "Machine": {
            "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)),
            "system": platform.platform(),
        },
    }
    if weights is not None:
        facts["Map and weights"]["weights"] = weights
    if calibration is None:
        facts["Calibration"] = {"none": "probabilities are not to be trusted"}
    else:
        facts["Calibration"] = {
            "drive": calibration.drive,
            "frames": calibration.frames,
            "right within, m": f"{calibration.radius:g}",
            **asdict(calibration.belief),
            **asdict(calibration.dynamics),
        }
    return facts | ({"Parameters": dict(parameters)} if parameters else {})


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a ROS distribution brings it under another name
        return ""


def _processor() -> str:
    """Return the processor's name; its architecture where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else f"{platform.machine()} ({sys.platform})"
