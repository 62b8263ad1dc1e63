"""Csv tables as people and programs write them, and what is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from test.error_lines import input_error
from vpr_ros.files.csv_table import read_csv


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"


def test_names_and_cells_as_a_spreadsheet_or_a_person_writes_them(file: Path) -> None:
    written = 'image , stamp,note\n"a, b.jpg", 1 ,"two\nlines"\n\nc.jpg,2\nd.jpg,3,x,y\n'
    file.write_text(written, "utf-8-sig")
    names, lines = read_csv(file, ("image", "stamp"), "both")
    assert names == ["image", "stamp", "note"]
    assert lines == [
        (3, {"image": "a, b.jpg", "stamp": "1", "note": "two\nlines"}),
        (5, {"image": "c.jpg", "stamp": "2", "note": ""}),  # a short line
        (6, {"image": "d.jpg", "stamp": "3", "note": "x"}),  # a long one
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no column 'image'"),
        (b"image,time\n", "no column 'stamp'"),
        (b"image,stamp\n\xff,1\n", "UTF-8"),
        (b'image,stamp\n"' + b"a" * 200_000 + b'",1\n', "not a csv table"),
    ],
)
def test_what_is_no_such_table(file: Path, content: bytes, said: str) -> None:
    file.write_bytes(content)
    with input_error(file, said, "expected image and stamp"):
        read_csv(file, ("image", "stamp"), "image and stamp")


def test_no_file_and_a_folder(file: Path) -> None:
    with input_error(file, "no such file", "expected image"):
        read_csv(file, ("image",), "image")
    file.mkdir()
    with input_error(file, "expected image"):
        read_csv(file, ("image",), "image")
