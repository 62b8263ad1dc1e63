"""The figures of the paper's comparison: means over runs, and a table of them in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from training.comparing.rows import Row
from vpr_ros.pages.markdown import markdown_table

#: Of a recall, and those of them that the table has.
NS = range(1, 26)
COLUMNS = (1, 5, 10, 20)
HEADS = ("local features", "aggregation", "dimensions", "bytes", "encode, ms", "search, ms")


def summary(row: Row, runs: Sequence[Mapping[str, Any]], cost: Mapping[str, float]) -> dict[str, Any]:
    """Return the figures of a row.

    Args:
        row: of the table.
        runs: one or more, each with `recalls` at NS, `dimension`, `queries` and `places`.
        cost: milliseconds a query, `encode_ms` and `search_ms`, where they are known.
    """
    recalls = np.array([run["recalls"] for run in runs])
    dimensions = sorted({run["dimension"] for run in runs})
    return {
        "row": row.name,
        "local": row.local,
        "aggregation": row.label,
        "dimensions": dimensions,
        "bytes": [4 * dimension for dimension in dimensions],  # of a query or a place, in float32
        **cost,
        "recalls": dict(zip(NS, recalls.mean(axis=0).tolist(), strict=True)),
        "deviation@1": float(recalls[:, 0].std()),
        "runs": list(runs),
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows in Markdown: recalls in percent, of several runs with the deviation at 1."""
    lines = []
    for row in rows:
        first, *others = (f"{100 * row['recalls'][n]:.1f}" for n in COLUMNS)
        spread = f" (±{100 * row['deviation@1']:.1f})" if len(row["runs"]) > 1 else ""
        cells = [row["local"], row["aggregation"]]
        cells += [", ".join(map(str, row[name])) for name in ("dimensions", "bytes")]
        cells += [_number(row.get(name)) for name in ("encode_ms", "search_ms")]
        lines.append([*cells, first + spread, *others, str(len(row["runs"]))])
    return markdown_table([*HEADS, *(f"R@{n}" for n in COLUMNS), "runs"], lines) + "\n"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"
