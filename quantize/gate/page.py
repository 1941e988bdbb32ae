"""`report.html`: the whole report on one page that needs nothing beside itself."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from quantserve.quantize.artifact import Manifest
from quantserve.quantize.gate.plots import plots

_ENVIRONMENT = Environment(
    loader=PackageLoader("quantserve.quantize.gate", "."),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(manifest: Manifest, report: dict[str, Any]) -> str:
    """Return the page as HTML; without figures (INFEASIBLE) it says why there are none."""
    from quantserve.quantize.gate.report import cost_rows

    drawn = plots(report) if report["figures"] is not None else []
    return _ENVIRONMENT.get_template("page.html").render(
        manifest=manifest,
        report=report,
        plots=[Markup(svg) for svg in drawn],
        costs=cost_rows(report["base"], report["candidate"]),
    )
