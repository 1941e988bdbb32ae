"""`report.html`: the whole report on one page, with plots as inline SVG, that needs nothing beside itself."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from quantserve.quantize.artifact import Manifest
from quantserve.quantize.gate.measure.figures import PERCENTILES

_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_BASE, _CANDIDATE, _LIMIT, _ASIDE = "#0072B2", "#D55E00", "#777777", "#B0B0B0"
_STYLE: Any = {
    "font.size": 9,
    "font.family": "sans-serif",
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


def page(manifest: Manifest, report: dict[str, Any], costs: Sequence[tuple[str, str, str]]) -> str:
    """Return the page as HTML; without figures (INFEASIBLE) it says why there are none.

    costs: what both engines cost besides speed, as title, base and candidate.
    """
    drawn = plots(report) if report["figures"] is not None else []
    return _ENVIRONMENT.get_template("page.html").render(
        manifest=manifest,
        report=report,
        plots=[Markup(svg) for svg in drawn],
        costs=costs,
    )


def plots(report: dict[str, Any]) -> list[str]:
    """Return the plots of a report with figures, as SVG elements."""
    return [
        _drawn(_perplexity, report, 0.7 + 0.45 * (1 + len(report["languages"]))),
        _drawn(_divergence, report, 2.6),
        _drawn(_speed, report, 2.6),
    ]


def _drawn(draw: Any, report: dict[str, Any], height: float) -> str:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6.2, height + 0.5), layout="constrained")
        draw(figure.subplots(), report)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]


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
