"""docs/troubleshooting.md quotes what the code says, and nothing else."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
#: Lines that are said by the node: those of the blocks of text.
QUOTED = [
    line for block in re.findall(r"^```text\n(.*?)^```", PAGE, re.S | re.M) for line in block.splitlines()
]
#: What stands for something else.
CAPITALS = re.compile(r"'?[A-Z]+'?")


def templates() -> list[tuple[list[str], re.Pattern[str]]]:
    """Return every string in the code that says something: its words, and all of it with values as groups."""
    found = []
    for file in (ROOT / "vpr_ros").glob("**/*.py"):
        tree = ast.parse(file.read_text())
        parts_of = {
            id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else None for part in node.values]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts_of:
                parts = [node.value]
            else:
                continue
            if "".join(part or "" for part in parts).strip():
                pattern = "".join("(.+?)" if part is None else re.escape(part) for part in parts)
                # values side by side are told apart by nothing, and tried in every way
                pattern = re.sub(r"(\(\.\+\?\)){2,}", "(.+?)", pattern)
                found.append(([part for part in parts if part], re.compile(pattern, re.S)))
    return found


SAID = templates()


@cache
def can_be_said(words: str) -> bool:
    """Tell whether the code can say this, with capitals for values."""
    return any(
        all(CAPITALS.fullmatch(value) or can_be_said(value) for value in match.groups())
        for known, template in SAID
        if all(part in words for part in known) and (match := template.fullmatch(words))
    )


@pytest.mark.parametrize("line", QUOTED)
def test_what_is_quoted_can_be_said(line: str) -> None:
    assert can_be_said(line)


def test_what_is_not_said_is_told_from_what_is() -> None:
    assert len(QUOTED) > 20
    assert can_be_said(
        "image future: stamped N s ahead of simulated time: set both clocks by NTP or PTP, and "
        "use_sim_time as the camera has it"
    )
    assert not can_be_said(
        "image future: stamped N s ahead of sundials: set both clocks by NTP or PTP, and "
        "use_sim_time as the camera has it"
    )
    assert not can_be_said("no image for N s: the camera is asleep")


def test_its_links_lead_somewhere() -> None:
    for name, anchor in re.findall(r"\]\(([\w.-]*\.md)?(?:#([\w-]+))?\)", PAGE):
        text = (ROOT / "docs" / name).read_text() if name else PAGE
        heads = {
            re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-")
            for head in re.findall(r"^#+ (.*)", text, re.M)
        }
        assert not anchor or anchor in heads, (name, anchor)
