"""The rows of the paper's comparison: how an image is described."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from vpr_ros.errors import InputError

#: What comes without a trunk, as `HandCrafted.aggregate` and on paper.
HAND_CRAFTED = {"vlad": "VLAD", "fisher": "Fisher vector"}
POOLINGS = {"max": "max", "netvlad": "NetVLAD"}
TRUNKS = {"alexnet": "AlexNet", "vgg16": "VGG-16", "resnet18": "ResNet-18", "resnet50": "ResNet-50"}


@dataclass(frozen=True)
class Row:
    """A row of the table and a curve of the figure.

    Attributes:
        aggregate: of HAND_CRAFTED or POOLINGS.
        trunk: of TRUNKS, or nothing.
        trained: to recognise places.
        whitened: by PCA, to fewer numbers.
    """

    aggregate: str
    trunk: str | None = None
    trained: bool = False
    whitened: bool = False

    @property
    def method(self) -> str:
        """What rows of the same weights share, whitened and trained or not."""
        return "-".join(filter(None, (self.trunk, self.aggregate)))

    @property
    def name(self) -> str:
        """As files and --rows have it."""
        return self.method + "-trained" * self.trained + "-whitened" * self.whitened

    @property
    def local(self) -> str:
        """What is aggregated, on paper."""
        return TRUNKS[self.trunk] if self.trunk else "dense RootSIFT"

    @property
    def label(self) -> str:
        """How, on paper."""
        words = [(HAND_CRAFTED | POOLINGS)[self.aggregate]]
        if self.trunk:
            words.append("trained" if self.trained else "off the shelf")
        return ", ".join([*words, *["whitened"] * self.whitened])


def choose_rows(trunks: Sequence[str], patterns: Sequence[str]) -> list[Row]:
    """Return the rows with these trunks whose names match one of the patterns; all rows without any.

    Max pooling is not whitened: its descriptors are as short as whitened ones.
    """
    for wrong in (trunk for trunk in trunks if trunk not in TRUNKS):
        raise InputError(f"--trunks {wrong}: expected some of {', '.join(TRUNKS)}")
    rows = [Row(aggregate, whitened=whitened) for aggregate in HAND_CRAFTED for whitened in (False, True)]
    for trunk in dict.fromkeys(trunks):
        rows += [Row("max", trunk, trained) for trained in (False, True)]
        rows += [
            Row("netvlad", trunk, trained, whitened)
            for trained in (False, True)
            for whitened in (False, True)
        ]
    for pattern in patterns:
        if not any(fnmatchcase(row.name, pattern) for row in rows):
            raise InputError(f"--rows {pattern}: expected some of {', '.join(row.name for row in rows)}")
    return [row for row in rows if not patterns or any(fnmatchcase(row.name, each) for each in patterns)]
