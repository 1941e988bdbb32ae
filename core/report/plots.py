"""Plots: one style, colours that suit colour-blind eyes, as PNG files or as SVG for a page."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"),
    *("#56B4E9", "#777777", "#8C6BB1", "#882255", "#000000"),
)
"""Okabe and Ito's palette first (Color Universal Design, 2008)."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
STYLE: Any = {
    "figure.dpi": 144,
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "quantserve",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
}


def svg(draw: Callable[[Axes], None], width: float, height: float) -> str:
    """Return what `draw` puts on the axes as an SVG element; sizes in inches."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.subplots())
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]


def save(figure: Figure, path: Path) -> None:
    """Write a PNG and free the figure."""
    from matplotlib import pyplot

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", facecolor="white")
    pyplot.close(figure)
