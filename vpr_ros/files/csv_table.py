"""A csv table, as people and programs write them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from vpr_ros.errors import InputError

Line = dict[str, str]


def read_csv(file: Path, needed: Sequence[str], expected: str) -> tuple[list[str], list[tuple[int, Line]]]:
    """Return the columns of a table in UTF-8, and its lines by column, each with its number in the file.

    Spaces around names and cells are left out; a cell that is not there is empty.

    Args:
        file: the table.
        needed: columns that it must have.
        expected: of it, in words, for the error.

    Raises:
        InputError: no such table, or without one of these columns.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened, restval="", skipinitialspace=True)
            names = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = names
            if missing := [name for name in needed if name not in names]:
                raise InputError(f"{file}: no column '{missing[0]}': expected {expected}")
            return names, [(reader.line_num, {name: line[name].strip() for name in names}) for line in reader]
    except FileNotFoundError as error:
        raise InputError(f"{file}: no such file: expected {expected}") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file}: not a csv table in UTF-8 ({error}): expected {expected}") from error
