"""A page as a browser's parser sees it: its elements, and the text between them."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Elements with their attributes, in order, and the text; fails where elements do not nest.

    Attributes:
        elements: name and attributes of each.
        text: of the page, without its style and scripts.
        comments: what stands in comments.
        scripts: the text of each script.
        rows: of all tables, the texts of their cells.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.comments: list[str] = []
        self.scripts: list[str] = []
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self.feed(file.read_text())
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" in self._open:
            self.scripts.append(data)
        elif "style" not in self._open:
            self.text += data
            if {"td", "th"} & {*self._open}:
                self.rows[-1][-1] += data

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def attributes(self, name: str) -> list[str]:
        """Return the values of an attribute, wherever it stands."""
        return [attributes[name] or "" for _, attributes in self.elements if name in attributes]


def check_stands_alone(page: Page, script: str = "") -> None:
    """Fail where the page loads anything, or runs anything but its script, or where its charts clash."""
    tags = {tag for tag, _ in page.elements}
    kinds = [attributes.get("type") for tag, attributes in page.elements if tag == "script"]
    assert kinds == (["application/json", None] if script else [])
    assert page.scripts[1:] == ([script] if script else [])
    assert not tags & {"link", "iframe", "object", "embed", "base", "form", "foreignobject"}
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            value = attributes.get(name) or "#"
            assert value.startswith(("data:image/", "#")), value
    (policy,) = [attributes["content"] for tag, attributes in page.elements if "http-equiv" in attributes]
    runs = f"; script-src 'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" if script else ""
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'" + runs
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    used = [value[1:] for value in page.attributes("xlink:href") if value.startswith("#")]
    used += [value[5:-1] for value in page.attributes("clip-path")]
    assert used
    assert set(used) <= set(ids)
