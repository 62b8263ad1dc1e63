"""A page that opens from disk: one file that loads nothing, runs nothing but its own script, and shows every
text as text."""

from __future__ import annotations

import base64
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from vpr_ros.files.atomic_file import replacing_file

TEMPLATES = Path(__file__).with_name("templates")


def write_page(file: Path, template: str, script: str = "", **content: Any) -> None:
    """Write a page of TEMPLATES, whole; `markupsafe.Markup` alone is taken as HTML.

    Args:
        file: of the page.
        template: its name.
        script: of a file of ours; the page says its digest, and a browser runs nothing else in it.
        content: what the template names.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = _unbroken
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    text = environment.get_template(template).render(
        content,
        script=Markup(script),  # noqa: S704  ours, and escaped it would not run
        digest=f"sha256-{digest}" if script else "",
    )
    with replacing_file(file) as partial:
        # a name that was not decoded has halves of characters, which no file can hold
        partial.write_bytes(text.encode("utf-8", "replace"))


def _unbroken(text: str) -> str:
    """Return the text with each number bound to its unit."""
    return re.sub(r"(?<=\d) (?=(%|m|s|ms)\b|%)", "\u00a0", text)
