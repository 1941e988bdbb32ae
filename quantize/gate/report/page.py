"""`report.html`: the whole report on one page, with plots as inline SVG, that needs nothing beside itself."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from quantserve.core.report.page import template
from quantserve.core.report.plots import COLOURS, svg
from quantserve.quantize.artifact import Manifest
from quantserve.quantize.gate.measure.figures import PERCENTILES

_BASE, _CANDIDATE = COLOURS[:2]
_LIMIT, _ASIDE = "#777777", "#B0B0B0"
_WIDTH = 6.2
_HEIGHT = 3.1
_ROW_HEIGHT = 0.45


def page(manifest: Manifest, report: dict[str, Any], costs: Sequence[tuple[str, str, str]]) -> str:
    """Return the page as HTML; without figures (INFEASIBLE) it says why there are none.

    costs: what both engines cost besides speed, as title, base and candidate.
    """
    drawn = plots(report) if report["figures"] is not None else []
    return template(Path(__file__).with_name("page.html")).render(
        manifest=manifest,
        report=report,
        plots=[Markup(svg) for svg in drawn],
        costs=costs,
    )


def plots(report: dict[str, Any]) -> list[str]:
    """Return the plots of a report with figures, as SVG elements."""
    by_language = 1.2 + _ROW_HEIGHT * (1 + len(report["languages"]))
    drawn = ((_perplexity, by_language), (_divergence, _HEIGHT), (_speed, _HEIGHT))
    return [svg(functools.partial(draw, report=report), _WIDTH, height) for draw, height in drawn]


def _perplexity(axes: Axes, report: dict[str, Any]) -> None:
    rows = [("overall", True, report["figures"])]
    rows += [(name, value["judged"], value) for name, value in report["languages"].items()]
    for y, (_, judged, figures) in enumerate(rows):
        ratio = figures["perplexity_ratio"]
        value, low, high = (ratio[name] - 1 for name in ("value", "low", "high"))
        color = _CANDIDATE if judged else _ASIDE
        axes.plot([low, high], [y, y], color=color, linewidth=3, alpha=0.5, solid_capstyle="round")
        axes.plot([value], [y], "o", color=color)
        axes.annotate(f"{value:+.1%}", (value, y), (0, 6), textcoords="offset points", ha="center")
    limit = report["thresholds"]["max_ppl_increase"]
    axes.axvline(limit, color=_LIMIT, linestyle="--")
    axes.annotate(
        f"limit {limit:+.0%}",
        (limit, -0.6),
        (-3, 0),
        textcoords="offset points",
        ha="right",
        va="top",
        color=_LIMIT,
    )
    axes.axvline(0, color=_BASE, linewidth=1)
    axes.set_yticks(range(len(rows)), [name if judged else f"{name} (reported)" for name, judged, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.7)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("perplexity increase over the base, with its 95 % interval")
    axes.set_title("Quality on held-out text")


def _divergence(axes: Axes, report: dict[str, Any]) -> None:
    figures = report["figures"]
    axes.plot(PERCENTILES, figures["kl_percentiles"], "o-", color=_CANDIDATE, label="all judged text")
    for name, value in report["languages"].items():
        if value["judged"] and len(report["evaluation"]["judged"]) > 1:
            axes.plot(PERCENTILES, value["kl_percentiles"], ":", label=name)
    axes.axhline(figures["mean_kl"]["value"], color=_LIMIT, linestyle="--", label="mean")
    axes.set_yscale("symlog", linthresh=1e-3)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("share of positions with less, %")
    axes.set_ylabel("KL divergence, nats")
    axes.legend()
    axes.set_title("How far the predictions are from the base's")


def _speed(axes: Axes, report: dict[str, Any]) -> None:
    for role, color in (("base", _BASE), ("candidate", _CANDIDATE)):
        rounds = report[role]["rounds"]
        speeds = report[role]["output_tokens_per_s"]
        at = [int(concurrency) for concurrency in speeds]
        axes.plot(at, list(speeds.values()), "o-", color=color, label=role)
        for one in rounds:
            values = [speed["tokens"] / speed["seconds"] for speed in one["speeds"]]
            axes.plot(at, values, "_", color=color, markersize=10)
    axes.set_xscale("log", base=2)
    axes.set_xticks(at, [str(value) for value in at])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("concurrent requests (a dash is one round)")
    axes.set_ylabel("output tokens per second")
    axes.legend()
    axes.set_title("Speed, measured in turns")
