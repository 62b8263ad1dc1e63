"""What the paper's comparison learns from, and what it is measured on: other places."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from training.comparing.task import match_task
from training.learning.split import hold_out, split_by_place
from vpr_ros.errors import InputError
from vpr_ros.geotagged import GeotaggedImages, within_radius
from vpr_ros.sources import read_sources

Sources = Path | list[Path]


@dataclass(frozen=True, eq=False)
class Parts:
    """Four parts of the images.

    Attributes:
        training: every row of the table learns from these alone.
        validation: the best epoch is chosen by these.
        database: the map.
        queries: are looked for on it.
    """

    training: GeotaggedImages
    validation: GeotaggedImages
    database: GeotaggedImages
    queries: GeotaggedImages


@dataclass(frozen=True)
class Division:
    """How data become parts.

    Attributes:
        data: to learn from.
        test: to be measured on; nothing where a part of the data is held out.
        val: to choose the best epoch by, likewise.
        task: who is looked for on what, of the test data.
        share: of the images, held out for the test.
        val_share: of the others, held out for validation.
        gap: metres between parts.
        radius: metres within which an answer is right.
        spacing: metres driven from one image of a drive to the next.
    """

    data: Sources
    test: Sources | None
    val: Sources | None
    task: str
    share: float
    val_share: float
    gap: float
    radius: float
    spacing: float

    def parts(self, end: str) -> Parts:
        """Return the parts with an end of `hold_out` held out; raises InputError without any query."""
        images = read_sources(self.data, spacing=self.spacing)
        if self.test is None:
            kept, held = hold_out(images.rows, end, self.share, self.gap)
            images, tested = images.select(kept), images.select(held)
        else:
            tested = read_sources(self.test, spacing=self.spacing)
        if self.val is None:
            kept, held = split_by_place(images.rows, self.val_share, self.gap)
            images, validation = images.select(kept), images.select(held)
        else:
            validation = read_sources(self.val, spacing=self.spacing)
        asking, answering = match_task(tested.rows, self.task)
        queries, database = tested.select(asking & ~answering), tested.select(answering)
        near = within_radius(queries.rows, database.rows, self.radius) if len(database) else []
        if not any(map(len, near)):
            names = ", ".join(sorted(set(tested.rows["session"].tolist())))
            raise InputError(
                f"--task '{self.task}': {len(queries)} queries and a database of {len(database)} among the "
                f"{len(tested)} images held out ({end}), no query within {self.radius:g} m of the database: "
                f"expected patterns of the sessions there: {names}"
            )
        return Parts(images, validation, database, queries)
