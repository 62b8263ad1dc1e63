"""A page that opens from disk: one file that loads nothing, runs nothing, and shows every text as text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vpr_ros.files.atomic_file import replacing_file

TEMPLATES = Path(__file__).with_name("templates")


def write_page(file: Path, template: str, **content: Any) -> None:
    """Write a page of TEMPLATES, whole; `markupsafe.Markup` alone is taken as HTML."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = _unbroken
    text = environment.get_template(template).render(content)
    with replacing_file(file) as partial:
        # a name that was not decoded has halves of characters, which no file can hold
        partial.write_bytes(text.encode("utf-8", "replace"))


def _unbroken(text: str) -> str:
    """Return the text with each number bound to its unit."""
    return re.sub(r"(?<=\d) (?=(%|m|s|ms)\b|%)", "\u00a0", text)
