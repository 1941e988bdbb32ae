"""The plots, as PNG files: every axis has a unit, every line a name, colours suit colour-blind eyes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from quantserve.benchmarks.report import units
from quantserve.core.report.plots import COLOURS, MARKERS, STYLE, save

plt.rcParams.update({**STYLE, "axes.titleweight": "bold"})
Points = Sequence[dict[str, Any]]
Figures = Callable[[dict[str, Any]], Any]
"""A figure of a point, or its interval; None where it is not known."""
_GREY = "#b8b8b8"
_THOUSANDS_APART = "{x:,.10g}"
_FAR_APART = 30
"""Values of which the largest is so many times the smallest are told apart only on a logarithmic axis."""


def series(points: Points) -> dict[str, list[dict[str, Any]]]:
    """Points by line: closed-loop users or open-loop rates, sorted; points of one workload share a line."""
    several = len({p["workload"] for p in points}) > 1
    out: dict[str, list[dict[str, Any]]] = {}
    for p in points:
        name = f"{p['subject']} · {p['workload']}" if several else str(p["subject"])
        out.setdefault(name, []).append(p)
    return {
        name: sorted(line, key=lambda p: p["users"] or p["rate_per_s"] or 0) for name, line in out.items()
    }


def _scale(axes: Axes, which: str, values: Iterable[float | None]) -> str:
    """Let an axis begin at nought, or be logarithmic where the values are far apart; return a word for it."""
    known, axis = [value for value in values if value], getattr(axes, f"{which}axis")
    if not known or max(known) < _FAR_APART * min(known):
        axes.set(**{f"{which}lim": (0, getattr(axes, f"get_{which}lim")()[1] * 1.08)})
        axis.set_major_formatter(StrMethodFormatter(_THOUSANDS_APART))
        return ""
    axes.set(**{f"{which}scale": "log"})
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter(_THOUSANDS_APART))
    axis.set_minor_formatter(NullFormatter())
    return " (logarithmic)"


def _axis(axes: Axes, points: Points) -> None:
    if all(p["users"] is not None for p in points):
        axes.set_xscale("log", base=2)
        ticks = sorted({p["users"] for p in points})
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.set_xlabel("concurrent users")
    else:
        axes.set_xlabel("offered requests per second")


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _line_style(number: int, name: str) -> dict[str, Any]:
    marker = MARKERS[number % len(MARKERS)]
    return {"color": _colour(number), "marker": marker, "markersize": 5, "label": name}


def _legend_below(figure: Figure, axes: Axes, top: float) -> None:
    """Name the lines once, below all panels."""
    handles, labels = axes.get_legend_handles_labels()
    columns = min(4, max(1, len(labels)))
    figure.legend(handles, labels, loc="upper center", ncols=columns, bbox_to_anchor=(0.5, top))
    figure.tight_layout()


def _lines(axes: Axes, points: Points, value: Figures, interval: Figures, scale: float) -> None:
    """One line per subject, with bars for the intervals that are known."""
    for number, (name, line) in enumerate(series(points).items()):
        known = [
            (p["users"] or p["rate_per_s"] or 0, y * scale, p) for p in line if (y := value(p)) is not None
        ]
        if not known:
            continue
        axes.plot([x for x, _, _ in known], [y for _, y, _ in known], **_line_style(number, name))
        bars = [(x, y, ci[0] * scale, ci[1] * scale) for x, y, p in known if (ci := interval(p))]
        if bars:
            axes.errorbar(
                [x for x, _, _, _ in bars],
                [y for _, y, _, _ in bars],
                yerr=[
                    [max(0.0, y - low) for _, y, low, _ in bars],
                    [max(0.0, high - y) for _, y, _, high in bars],
                ],
                fmt="none",
                ecolor=_colour(number),
                elinewidth=1,
                capsize=2,
            )


def curves(points: Points, path: Path) -> None:
    """Throughput and latencies over load, one line per subject."""
    figure, grid = plt.subplots(2, 2, figsize=(9.5, 6.6))
    first, *others = grid.flat
    _lines(first, points, lambda p: p["figures"]["output_tps"], lambda p: p["figures"]["output_tps_ci95"], 1)
    first.set(title="Output throughput", ylabel="tokens per second" + _scale(first, "y", []))
    titles = {"ttft": "Time to first token", "tpot": "Time per output token", "e2e": "End to end"}
    for axes, (metric, title) in zip(others, titles.items(), strict=True):
        found = [p["figures"][metric]["p50"] for p in points]
        _lines(
            axes,
            points,
            lambda p, name=metric: p["figures"][name]["p50"],  # type: ignore[misc]
            lambda p, name=metric: p["figures"][name]["ci95"].get("p50"),  # type: ignore[misc]
            1000,
        )
        axes.set(title=f"{title}, p50", ylabel="milliseconds" + _scale(axes, "y", found))
    for axes in grid.flat:
        _axis(axes, points)
    _legend_below(figure, first, 0.0)
    save(figure, path)


def trade(points: Points, path: Path) -> None:
    """Throughput against the latency it costs: up and to the left is better."""
    figure, axes = plt.subplots(figsize=(6.4, 4.2))
    for number, (name, line) in enumerate(series(points).items()):
        rows = [
            (p["figures"]["e2e"]["p50"] * 1000, p["figures"]["output_tps"], p["users"] or p["rate_per_s"])
            for p in line
            if p["figures"]["e2e"]["p50"] is not None and p["figures"]["output_tps"] is not None
        ]
        if not rows:
            continue
        axes.plot([x for x, _, _ in rows], [y for _, y, _ in rows], **_line_style(number, name))
        for x, y, press in rows:
            beside: Any = {"textcoords": "offset points", "xytext": (4, 4)}
            axes.annotate(f"{press:g}", (x, y), fontsize=7, color=_colour(number), **beside)
    scale = _scale(axes, "x", [p["figures"]["e2e"]["p50"] for p in points])
    axes.set(
        title="Throughput against latency (numbers: users or requests per second)",
        xlabel=f"end to end, p50, milliseconds{scale}",
        ylabel="output tokens per second",
    )
    _scale(axes, "y", [])
    axes.legend(loc="upper center", ncols=2, bbox_to_anchor=(0.5, -0.15))
    save(figure, path)


def distributions(values: dict[str, dict[str, Sequence[float]]], path: Path) -> None:
    """Cumulative distributions: metric → line name → seconds."""
    figure, row = plt.subplots(1, len(values), figsize=(3.3 * len(values), 3.2), squeeze=False)
    for axes, (metric, lines) in zip(row[0], values.items(), strict=True):
        for number, (name, seconds) in enumerate(lines.items()):
            if not seconds:
                continue
            ordered = sorted(value * 1000 for value in seconds)
            shares = [(index + 1) / len(ordered) for index in range(len(ordered))]
            axes.step(ordered, shares, where="post", color=_colour(number), label=name)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        scale = _scale(axes, "x", itertools.chain(*lines.values()))
        axes.set(title=metric, xlabel=f"milliseconds{scale}", ylim=(0, 1.02))
    row[0][0].set_ylabel("share of requests at most this slow")
    _legend_below(figure, row[0][0], 0.02)
    save(figure, path)


def timeline(
    rows: Sequence[tuple[float, float, float | None]], samples: Sequence[dict[str, Any]], path: Path
) -> None:
    """One cell over time: each request as a line (grey: no token yet), then the server's queue, if it told.

    Rows are (sent, done, first token), seconds since the cell began.
    """
    queues = {
        name: known
        for name in ("running", "waiting")
        if (known := [(row["t_s"], row[name]) for row in samples if name in row])
    }
    heights = [3, 1] if queues else [3]
    figure, grid = plt.subplots(
        len(heights), 1, figsize=(9, sum(heights) * 1.25), sharex=True, squeeze=False, height_ratios=heights
    )
    top, bottom = grid[0, 0], grid[-1, 0]
    for number, (sent, done, first) in enumerate(rows):
        waited = done if first is None else first
        top.plot([sent, waited], [number, number], color=_GREY, linewidth=1.2)
        if first is not None:
            top.plot([first, done], [number, number], color=COLOURS[0], linewidth=1.2)
    top.plot([], [], color=_GREY, label="until the first token")
    top.plot([], [], color=COLOURS[0], label="generating")
    top.set(title="Every request of the cell", ylabel="requests in order of sending")
    top.legend(loc="lower right")
    for number, (name, known) in enumerate(queues.items()):
        bottom.step(*zip(*known, strict=True), where="post", color=COLOURS[number], label=name)
    if queues:
        bottom.legend(loc="upper right")
        bottom.set_ylabel("in the server")
    bottom.set_xlabel("seconds since the cell began")
    save(figure, path)


def _horizontal(axes: Axes, title: str, unit: str) -> None:
    axes.set(title=title, xlabel=unit)
    axes.xaxis.set_major_formatter(StrMethodFormatter(_THOUSANDS_APART))
    axes.grid(axis="y", visible=False)


def bars(title: str, unit: str, values: dict[str, float | None], path: Path) -> None:
    """One bar per name, with its figure written at its end."""
    known = {name: value for name, value in values.items() if value is not None}
    figure, axes = plt.subplots(figsize=(6.4, 0.7 + 0.42 * max(1, len(known))))
    names = list(known)[::-1]
    axes.barh(names, [known[name] for name in names], color=COLOURS[0], height=0.6)
    for number, name in enumerate(names):
        axes.annotate(f" {units.number(known[name])}", (known[name], number), va="center", fontsize=8)
    _horizontal(axes, title, unit)
    axes.margins(x=0.15)
    save(figure, path)


def stacked(title: str, unit: str, values: dict[str, dict[str, float]], path: Path) -> None:
    """One horizontal bar per name, made of its parts; the legend names even those too small to see."""
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.5 * max(1, len(values))))
    parts = list(dict.fromkeys(part for row in values.values() for part in row))
    names = list(values)[::-1]
    left = [0.0] * len(names)
    for number, part in enumerate(parts):
        widths = [values[name].get(part, 0.0) for name in names]
        # The last stage is the longest as a rule: it gets the first colour.
        axes.barh(names, widths, left=left, color=_colour(len(parts) - 1 - number), label=part, height=0.6)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    _horizontal(axes, title, unit)
    if parts:
        axes.legend(loc="upper center", ncols=4, bbox_to_anchor=(0.5, -0.25))
    save(figure, path)
