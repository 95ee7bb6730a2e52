"""What report pages share: one look, light and dark, and plots as small SVG texts that embed in a page.

Pages escape every text, load nothing and run no script. Plots are drawn with matplotlib's objects, never with
pyplot's global state.
"""

import base64
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

_WIDTH_IN = 10.4
INK, MUTED, GRID, BAND = "#1f2a37", "#5b6776", "#dfe4ea", "#eef1f4"
_DARK = {
    INK: "#e6eaf0", MUTED: "#9da9b8", GRID: "#35404d", BAND: "#26303b",
    "#0f7b6c": "#3fb8a5", "#2f6fb3": "#6aa9ea", "#7a4fb5": "#b08be6", "#6aa6c8": "#8cc4e4",
    "#94a0ae": "#7b8794", "#c9b37e": "#cdb987", "#d98e1f": "#eead4b", "#c0482f": "#ea7f66",
    "#8c2f4b": "#d0708d", "#7fb069": "#93c77c",
}  # fmt: skip
"""Colour on a light page → on a dark one; plots use no other colours."""
_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_SETTINGS = {
    "svg.fonttype": "none", "svg.hashsalt": "voicebot", "text.parse_math": False, "font.size": 9.5,
    "text.color": INK, "axes.edgecolor": GRID, "axes.labelcolor": MUTED, "xtick.color": MUTED,
    "ytick.color": INK, "grid.color": GRID, "legend.frameon": False, "legend.fontsize": 9,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture: SVG for light and dark pages, and what it shows in words."""

    alt: str
    light: str
    dark: str


def drawn(height_in: float, draw: Callable[[Any], None], alt: str) -> Plot:
    """A picture that a function draws into fresh axes.

    Args:
        height_in: inches; the width is that of the page.
        draw: draws into the axes it is given, with colours of this module; labelled artists make a legend.
        alt: what the picture shows, in words.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    text = io.StringIO()
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
        draw(figure.add_subplot())
        figure.legend(loc="outside upper left", ncols=10, handlelength=1.1, columnspacing=1.2)
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    light = _tidy(text.getvalue())
    dark = re.sub(r"#[0-9a-f]{6}", lambda match: _DARK.get(match[0], match[0]), light)
    return Plot(alt, light, dark)


def _tidy(svg: str) -> str:
    """The bare <svg> element with the reader's own fonts."""
    bare = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    return re.sub(r"'DejaVu Sans'[^;\"]*", _FONTS, bare).strip()


def percent_axis() -> Any:
    """Labels of an axis of shares, 0 to 1, in percent."""
    from matplotlib.ticker import PercentFormatter

    return PercentFormatter(1.0)


def page_templates() -> "Environment":
    """The templates of pages, with the filters that all of them use."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("evaluation", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"moment": _moment, "data_uri": _data_uri}
    return environment


def _moment(value: datetime) -> str:
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _data_uri(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
