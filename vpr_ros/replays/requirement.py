"""What a drive's figures have to reach: `recall@1>=0.8`, for a build that shall fail where they do not."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vpr_ros.errors import InputError
from vpr_ros.replays.figure_names import NAMES, figure

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_EXPRESSION = re.compile(r"\s*([^<>=\s]+)\s*(>=|<=|>|<)\s*([^<>=\s]+)\s*")


@dataclass(frozen=True)
class Requirement:
    """A figure by its name, one of OPERATORS, and a number: shares from 0 to 1, metres, seconds or ms."""

    name: str
    operator: str
    bound: float

    def __str__(self) -> str:
        return f"{self.name} {self.operator} {self.bound:.15g}"


def parse_requirement(text: str) -> Requirement:
    """Return the requirement that the text states; raises InputError for an unknown name or number."""
    match = _EXPRESSION.fullmatch(text)
    name, sign, number = match.groups() if match else ("", "", "")
    try:
        bound = float(number)
    except ValueError:
        bound = math.nan
    if name not in NAMES or not math.isfinite(bound):
        raise InputError(
            f"requirement {text!r}: expected NAME, one of {' '.join(OPERATORS)}, and a number, such as "
            f"'recall@1>=0.8'; the names are {', '.join(NAMES)}"
        )
    return Requirement(name, sign, bound)


def parse_requirements(texts: Sequence[str] | None) -> list[Requirement]:
    """Return the requirements that the texts state; see `parse_requirement`."""
    return [parse_requirement(text) for text in texts or ()]


def unmet(requirements: Sequence[Requirement], figures: Mapping[str, Any]) -> list[str]:
    """Return a line for each requirement that a drive's figures do not meet; an unknown figure meets none."""
    lines = []
    for required in requirements:
        value = figure(figures, required.name)
        if value is None or not OPERATORS[required.operator](value, required.bound):
            bound = f"{required.operator} {required.bound:.15g}"
            lines.append(f"{required.name} is {_told(value, required)}, required {bound}")
    return lines


def _told(value: float | None, required: Requirement) -> str:
    """Return the value with as few digits as show that it does not meet the bound."""
    if value is None or math.isnan(value):
        return "not known"
    for digits in range(3, 17):
        short = f"{value:.{digits}g}"
        if not OPERATORS[required.operator](float(short), required.bound):
            return short
    return repr(value)
