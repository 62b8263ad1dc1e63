"""What one drive has taught about a map and its encoder: how far their answers can be believed.

Written by training/calibrate.py into the map's folder. It belongs to that map with that encoder, and a map
that is built anew has none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vpr_ros.errors import InputError
from vpr_ros.files.atomic_file import replacing_file
from vpr_ros.hypotheses import Belief
from vpr_ros.maps.manifest import INDEX
from vpr_ros.place_map import PlaceMap
from vpr_ros.sequence_filter import Dynamics
from vpr_ros.version import project_version

FORMAT = 1
FILE = "calibration.json"
#: A threshold that nothing reaches, and the lowest there is.
NEVER, HALF = math.inf, 0.5


@dataclass(frozen=True)
class Step:
    """Of the frames whose best hypothesis had a probability above this: how many, and how many were wrong."""

    above: float
    accepted: int
    wrong: int


@dataclass(frozen=True)
class Acceptance:
    """What share of the answers above a probability was right, on the drive of the calibration."""

    steps: tuple[Step, ...]

    @classmethod
    def of(cls, probabilities: ArrayLike, right: ArrayLike) -> Acceptance:
        """Count (N,) probabilities of best hypotheses, and whether these were right."""
        probability, wrong = np.asarray(probabilities, np.float64), ~np.asarray(right, bool)
        # the share of right ones rises most where a wrong one is left out; below the least sure answer of the
        # drive nothing is known, and what is less likely than not is never accepted
        least = np.nextafter(probability.min(initial=1.0), 0.0)
        levels = np.unique(np.maximum(np.append(probability[wrong], least), HALF))
        return cls(
            tuple(
                Step(
                    float(level), int((probability > level).sum()), int((wrong & (probability > level)).sum())
                )
                for level in levels
            )
        )

    def threshold(self, precision: float) -> float:
        """Return the lowest probability above which at least this share is right, or NEVER.

        A few right answers in a row promise little: the share of wrong ones is taken as (wrong + 1/2) over
        (accepted + 1), its expectation under Jeffreys' prior.
        """
        for step in self.steps:
            if (step.wrong + 0.5) / (step.accepted + 1) <= 1 - precision:
                return step.above
        return NEVER


@dataclass(frozen=True)
class Calibration:
    """How far the answers of a map can be believed.

    Attributes:
        belief: how similarities become probabilities and covariances.
        dynamics: of the sequence filter.
        single: of answers from one image.
        filtered: of answers over time.
        drive: that it was fitted to, in words.
        frames: of that drive.
        radius: metres within which an answer counted as right.
    """

    belief: Belief
    dynamics: Dynamics
    single: Acceptance
    filtered: Acceptance
    drive: str
    frames: int
    radius: float


def write_calibration(calibration: Calibration, place_map: PlaceMap) -> Path:
    """Write the calibration into the map's folder, replacing the one there whole or not at all."""
    file = place_map.folder / FILE
    written = {
        "format": FORMAT,
        "version": project_version(),
        "encoder": place_map.fingerprint,
        "index": place_map.manifest.files[INDEX].sha256,
        **asdict(calibration),
    }
    with replacing_file(file) as partial:
        partial.write_text(json.dumps(written, indent=1))
    return file


def read_calibration(place_map: PlaceMap) -> Calibration | None:
    """Return the map's calibration, or None where it has none.

    Raises InputError for one that is damaged, of a newer format, or of another map or encoder.
    """
    file = place_map.folder / FILE
    if not file.exists():
        return None
    try:
        read = json.loads(file.read_text())
        newer = read["format"] > FORMAT
        ours = not newer and (read["encoder"], read["index"]) == (
            place_map.fingerprint,
            place_map.manifest.files[INDEX].sha256,
        )
        calibration = _calibration(read) if ours else None
    except (OSError, ValueError, ArithmeticError, KeyError, TypeError) as error:  # InputError among them
        raise InputError(
            f"{file}: damaged ({error}): run training/calibrate.py again, or remove it"
        ) from error
    if newer:
        raise InputError(
            f"{file}: calibration format {read['format']}, this version reads up to {FORMAT}: install "
            f"vpr_ros {read.get('version')} or newer"
        )
    if calibration is None:
        raise InputError(f"{file}: of another map: run training/calibrate.py on this one, or remove it")
    return calibration


def _calibration(read: dict[str, Any]) -> Calibration:
    radius = float(read["radius"])
    if not 0 < radius < math.inf:
        raise ValueError(f"radius is {radius}")
    return Calibration(
        belief=Belief(**read["belief"]),
        dynamics=Dynamics(**read["dynamics"]),
        single=_acceptance(read["single"]["steps"]),
        filtered=_acceptance(read["filtered"]["steps"]),
        drive=str(read["drive"]),
        frames=int(read["frames"]),
        radius=radius,
    )


def _acceptance(steps: Sequence[dict[str, Any]]) -> Acceptance:
    read = tuple(Step(float(step["above"]), int(step["accepted"]), int(step["wrong"])) for step in steps)
    for step in read:
        if not (0 <= step.above <= 1 and 0 <= step.wrong <= step.accepted):
            raise ValueError(f"{step} cannot be")
    return Acceptance(read)
