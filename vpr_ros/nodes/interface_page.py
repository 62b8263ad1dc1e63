"""The files that tell of the node's parameters, topics and services, written by the code that makes them.

python -m vpr_ros.nodes.interface_page, in the source tree, writes docs/parameters.md, config/localise.yaml.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import Field, fields
from pathlib import Path
from textwrap import wrap
from typing import Any

from vpr_ros.hypotheses import POINT
from vpr_ros.nodes.parameters import Parameters
from vpr_ros.nodes.topics import PUBLISHED, SERVICES, SUBSCRIBED, Topic, type_name
from vpr_ros.pages.markdown import markdown_table

#: By which `ros2 param describe` calls a parameter's type.
_TYPES = {bool: "boolean", int: "integer", float: "double", str: "string", tuple: "double array"}

_HEAD = """\
# Parameters, topics, services

Of the node `vpr_localiser`. Written by `make docs` from the code that declares and makes them: change them
there. What they are for in practice is in [On my robot](on-my-robot.md).

## Parameters

Those with a star may be set while the node runs, and hold from the next image on; the others are read-only.
`ros2 param describe /vpr_localiser k` says the same of one; `config/localise.yaml` has all of them at their
defaults.
"""

_FIELDS = """\
### The fields of a hypothesis

Metres in the map's local frame (east, north, up about its datum), WGS84 degrees, radians (0 is east,
counter-clockwise), square metres; the number of the most similar place behind it. Yaw is NaN where the map
knows none.
"""


def page() -> str:
    """Return docs/parameters.md."""
    parts = [
        _HEAD,
        _table(
            ("parameter", "type", "default", "expected", "what"),
            [
                (
                    f"`{each.name}`" + ("" if each.metadata["fixed"] else " \\*"),
                    _TYPES[type(each.default)],
                    f"`{_yaml(each.default)}`",
                    _expected(each),
                    _marked(each.metadata["text"]),
                )
                for each in fields(Parameters)
            ],
        ),
        "## Topics it publishes\n\nAll with the image's stamp, but `/diagnostics`.\n",
        _topics(PUBLISHED),
        _FIELDS,
        ", ".join(f"`{name}` {POINT[name]}" for name in POINT.names or ()) + "\n",
        "## Topics it subscribes\n\nRelative names are those of the node's namespace.\n",
        _topics(SUBSCRIBED),
        "## Services\n\nBeside those of a managed node, such as `~/change_state`.\n",
        _table(
            ("service", "type", "what"),
            [(f"`{each.name}`", type_name(each.kind), each.text) for each in SERVICES],
        ),
    ]
    return "\n".join(parts)


def parameter_file() -> str:
    """Return config/localise.yaml."""
    lines = [
        "# Parameters of vpr_localiser, at their defaults. Those with a star may be set while the node runs.",
        "# Written by `make docs` from vpr_ros/nodes/parameters.py.",
        "/**:",
        "  ros__parameters:",
    ]
    for each in fields(Parameters):
        star, expected = "" if each.metadata["fixed"] else "* ", _expected(each)
        text = f"{star}{each.metadata['text']}" + (f" ({expected})." if expected else ".")
        lines += [f"    # {line}" for line in wrap(text, 104)]
        lines.append(f"    {each.name}: {_yaml(each.default)}")
    return "\n".join(lines) + "\n"


def _topics(topics: Sequence[Topic]) -> str:
    return _table(
        ("topic", "type", "QoS", "what"),
        [
            (
                f"`{each.name}`",
                each.type_name,
                f"{'best effort' if each.best_effort else 'reliable'}, depth {each.depth}",
                each.text,
            )
            for each in topics
        ],
    )


def _expected(parameter: Field[Any]) -> str:
    """Say what values a parameter may have, or nothing."""
    low, high, choices = (parameter.metadata[key] for key in ("low", "high", "choices"))
    if choices:
        return ", ".join(choices.split("|"))
    return "" if low is None else f"{_yaml(low)} to {_yaml(high)}"


def _yaml(value: Any) -> str:
    # numbers, words in quotes and lists of numbers are the same in JSON
    return json.dumps(value)


def _marked(text: str) -> str:
    """Return a description in which topics and services are marked as code."""
    return re.sub(r"(?<![\w`])~?/[a-z_/]+", r"`\g<0>`", text)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return markdown_table(head, rows) + "\n"


def main() -> None:
    """Write both files."""
    root = Path(__file__).resolve().parents[2]
    (root / "docs" / "parameters.md").write_text(page())
    (root / "config" / "localise.yaml").write_text(parameter_file())


if __name__ == "__main__":
    main()
