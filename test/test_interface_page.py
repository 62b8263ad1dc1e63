"""The files that tell of the node's interface are those that the code writes."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import yaml

from vpr_ros.nodes.interface_page import page, parameter_file
from vpr_ros.nodes.parameters import Parameters

ROOT = Path(__file__).resolve().parents[1]


def test_the_files_are_those_that_the_code_writes() -> None:
    """Where this fails: make docs."""
    assert (ROOT / "docs" / "parameters.md").read_text() == page()
    assert (ROOT / "config" / "localise.yaml").read_text() == parameter_file()


def test_the_parameter_file_holds_every_parameter_at_its_default() -> None:
    said = yaml.safe_load(parameter_file())["/**"]["ros__parameters"]
    assert said == {
        each.name: list(each.default) if isinstance(each.default, tuple) else each.default
        for each in fields(Parameters)
    }


def test_every_table_of_the_page_is_whole() -> None:
    """A bar in a description would make one column more."""
    tables = [part.splitlines() for part in page().split("\n\n") if part.startswith("| ")]
    assert len(tables) == 4
    for lines in tables:
        assert {line.count("|") for line in lines} == {lines[0].count("|")}
