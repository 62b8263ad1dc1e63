"""Charts as SVG inside a page: in the page's own font, and nothing in them runs, or clashes with others."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

#: Text stays text, so that it can be searched, and is never read as a formula: names come from recordings.
STYLE: dict[str, object] = {
    "text.parse_math": False,
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#767676",
    "axes.labelcolor": "#1a1a1a",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "none",
}
#: Of no use inside a page, and a date would make two reports of one drive differ.
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def inline_svg(draw: Callable[[Figure], None], name: str, label: str, size: tuple[float, float]) -> Markup:
    """Return a chart as an <svg> element.

    Args:
        draw: fills a figure.
        name: of its own within the page.
        label: what it shows, for those who cannot see it.
        size: inches at which its text has its natural size; the page scales it.
    """
    with rc_context(STYLE | {"svg.hashsalt": name}):  # type: ignore[arg-type]
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata=NO_METADATA, dpi=150)
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # of no use, and the same in every chart
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    opening = Markup('<svg role="img" aria-label="{}"').format(label)
    return Markup(str(opening) + svg.removeprefix("<svg"))  # noqa: S704  matplotlib escapes every text
