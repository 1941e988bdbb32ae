"""The plots, as PNG files: every axis has a unit, every line a name, colours suit colour-blind eyes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from quantserve.benchmarks.report import units
from quantserve.core.report.plots import COLOURS, MARKERS, STYLE, save

plt.rcParams.update(STYLE)
Points = Sequence[dict[str, Any]]
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


def _line(
    axes: Axes, points: Points, value: Callable[[dict[str, Any]], float | None], interval: Callable[..., Any]
) -> None:
    for number, (name, line) in enumerate(series(points).items()):
        known = [(p["users"] or p["rate_per_s"] or 0, value(p), interval(p)) for p in line]
        rows = [(x, y, ci) for x, y, ci in known if y is not None]
        if not rows:
            continue
        colour = COLOURS[number % len(COLOURS)]
        xs, ys = [row[0] for row in rows], [row[1] for row in rows]
        axes.plot(xs, ys, marker=MARKERS[number % len(MARKERS)], color=colour, label=name, markersize=5)
        bars = [(x, y, ci) for x, y, ci in rows if ci]
        if bars:
            axes.errorbar(
                [x for x, _, _ in bars],
                [y for _, y, _ in bars],
                yerr=[[max(0.0, y - ci[0]) for _, y, ci in bars], [max(0.0, ci[1] - y) for _, y, ci in bars]],
                fmt="none",
                ecolor=colour,
                elinewidth=1,
                capsize=2,
            )


def curves(points: Points, path: Path) -> None:
    """Throughput and latencies over load, one line per subject."""
    figure, grid = plt.subplots(2, 2, figsize=(9.5, 6.6))
    panels: list[tuple[str, str, Callable[[dict[str, Any]], float | None], Callable[..., Any]]] = [
        (
            "Output throughput",
            "tokens per second",
            lambda p: p["figures"]["output_tps"],
            lambda p: p["figures"]["output_tps_ci95"],
        )
    ]
    for name, title in (
        ("ttft", "Time to first token, p50"),
        ("tpot", "Time per output token, p50"),
        ("e2e", "End to end, p50"),
    ):
        panels.append(
            (
                title,
                "milliseconds",
                lambda p, n=name: _ms(p["figures"][n]["p50"]),  # type: ignore[misc]
                lambda p, n=name: _ms_pair(p["figures"][n]["ci95"].get("p50")),
            )
        )
    for axes, (title, unit, value, interval) in zip(grid.flat, panels, strict=True):
        _line(axes, points, value, interval)
        axes.set_title(title)
        latency = unit == "milliseconds"
        axes.set_ylabel(unit + _scale(axes, "y", [value(p) for p in points] if latency else []))
        _axis(axes, points)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="upper center", ncols=min(4, max(1, len(labels))), bbox_to_anchor=(0.5, 0.0)
    )
    figure.tight_layout()
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
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(
            [r[0] for r in rows],
            [r[1] for r in rows],
            marker=MARKERS[number % len(MARKERS)],
            color=colour,
            label=name,
            markersize=5,
        )
        for x, y, press in rows:
            axes.annotate(
                f"{press:g}", (x, y), textcoords="offset points", xytext=(4, 4), fontsize=7, color=colour
            )
    axes.set_title("Throughput against latency (numbers: users or requests per second)")
    scale = _scale(axes, "x", [p["figures"]["e2e"]["p50"] for p in points])
    axes.set_xlabel(f"end to end, p50, milliseconds{scale}")
    axes.set_ylabel("output tokens per second")
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
            axes.step(ordered, shares, where="post", color=COLOURS[number % len(COLOURS)], label=name)
        axes.set_title(metric)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlabel("milliseconds" + _scale(axes, "x", itertools.chain(*lines.values())))
        axes.set_ylim(0, 1.02)
    row[0][0].set_ylabel("share of requests at most this slow")
    handles, labels = row[0][0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="upper center", ncols=min(4, max(1, len(labels))), bbox_to_anchor=(0.5, 0.02)
    )
    figure.tight_layout()
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
        top.plot(
            [sent, first if first is not None else done], [number, number], color="#b8b8b8", linewidth=1.2
        )
        if first is not None:
            top.plot([first, done], [number, number], color=COLOURS[0], linewidth=1.2)
    top.plot([], [], color="#b8b8b8", label="until the first token")
    top.plot([], [], color=COLOURS[0], label="generating")
    top.set_ylabel("requests in order of sending")
    top.set_title("Every request of the cell")
    top.legend(loc="lower right")
    for number, (name, known) in enumerate(queues.items()):
        bottom.step(
            [t for t, _ in known], [v for _, v in known], where="post", color=COLOURS[number], label=name
        )
    if queues:
        bottom.legend(loc="upper right")
        bottom.set_ylabel("in the server")
    bottom.set_xlabel("seconds since the cell began")
    save(figure, path)


def bars(title: str, unit: str, values: dict[str, float | None], path: Path) -> None:
    """One bar per name, with its figure written at its end."""
    known = {name: value for name, value in values.items() if value is not None}
    figure, axes = plt.subplots(figsize=(6.4, 0.7 + 0.42 * max(1, len(known))))
    names = list(known)[::-1]
    axes.barh(names, [known[name] for name in names], color=COLOURS[0], height=0.6)
    for number, name in enumerate(names):
        axes.annotate(f" {units.number(known[name])}", (known[name], number), va="center", fontsize=8)
    axes.set_title(title)
    axes.set_xlabel(unit)
    axes.xaxis.set_major_formatter(StrMethodFormatter(_THOUSANDS_APART))
    axes.grid(axis="y", visible=False)
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
        colour = COLOURS[(len(parts) - 1 - number) % len(COLOURS)]
        axes.barh(names, widths, left=left, color=colour, label=part, height=0.6)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.set_title(title)
    axes.set_xlabel(unit)
    axes.xaxis.set_major_formatter(StrMethodFormatter(_THOUSANDS_APART))
    axes.grid(axis="y", visible=False)
    axes.legend(loc="upper center", ncols=4, bbox_to_anchor=(0.5, -0.25))
    save(figure, path)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


def _ms_pair(pair: Any) -> Any:
    return None if not pair else (pair[0] * 1000, pair[1] * 1000)
