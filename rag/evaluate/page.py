"""`report.html`: an evaluation on one page that needs nothing beside itself."""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from quantserve.rag.evaluate import show
from quantserve.rag.evaluate.run import JUDGED_BY, Evaluation
from quantserve.rag.trust.fit import KEEP

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_STYLE: Any = {
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "quantserve",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.axisbelow": True,
    "legend.frameon": False,
}
_ENVIRONMENT = Environment(
    loader=PackageLoader("quantserve.rag.evaluate", "."),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(evaluation: Evaluation, created: str) -> str:
    """Return the page as HTML."""
    differences = [
        [mode, show.interval(value, signed=True)] for mode, value in evaluation.differences.items()
    ]
    tables: list[tuple[str, str, tuple[str, ...], list[list[str]]]] = [
        (
            "By mode",
            "Means over the scored questions, with 95 % bootstrap intervals; ms is the median search.",
            show.MODES_COLUMNS,
            show.modes_rows(evaluation),
        ),
        (
            "By language and kind",
            f"{JUDGED_BY}; paraphrased questions share at most a third of their words with the evidence.",
            show.groups_columns(evaluation),
            show.groups_rows(evaluation),
        ),
        (
            "Hybrid against the others",
            "Paired by question: an interval above zero is a gain that chance does not explain.",
            ("hybrid against", f"{JUDGED_BY} gained"),
            differences,
        ),
        (
            "Limits for \u201cI do not know\u201d",
            f"They keep at least {KEEP:.0%} of the answerable questions; measured on these very questions.",
            show.CALIBRATION_COLUMNS,
            show.calibration_rows(evaluation),
        ),
        (
            "What a score tells",
            "Area under the ROC curve: 0.5 tells nothing of whether there is an answer, 1 everything.",
            show.AREAS_COLUMNS,
            show.areas_rows(evaluation),
        ),
    ]
    if evaluation.answers is not None:
        tables.append(
            (
                "Answers",
                "Faithfulness: support of each sentence by the passages given; citation precision: share of "
                "citations whose passage supports the sentence.",
                ("figure", "value"),
                show.answers_rows(evaluation),
            )
        )
    return _ENVIRONMENT.get_template("page.html").render(
        evaluation=evaluation,
        created=created,
        plots=[Markup(_drawn(_modes, evaluation)), Markup(_drawn(_curves, evaluation))],
        tables=tables,
    )


def _drawn(draw: Any, evaluation: Evaluation) -> str:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 3.4), layout="constrained")
        draw(figure.subplots(), evaluation)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]


def _modes(axes: Axes, evaluation: Evaluation) -> None:
    names = ["all", *evaluation.groups]
    modes = list(evaluation.modes)
    width = 0.8 / len(modes)
    for index, mode in enumerate(modes):
        values = [evaluation.modes[mode][JUDGED_BY], *(group[mode] for group in evaluation.groups.values())]
        places = [x - 0.4 + width * (index + 0.5) for x in range(len(names))]
        means = [value.mean for value in values]
        errors = [[v.mean - v.low for v in values], [v.high - v.mean for v in values]]
        axes.bar(places, means, width * 0.9, label=mode, color=_COLOURS[index % len(_COLOURS)])
        axes.errorbar(places, means, errors, fmt="none", ecolor="#333", elinewidth=0.8)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel(f"{JUDGED_BY} (95 % interval)")
    axes.set_ylim(0, 1.12)
    axes.legend(ncols=len(modes), loc="upper left", fontsize=8)


def _curves(axes: Axes, evaluation: Evaluation) -> None:
    shown = [name for name in evaluation.curves if name.startswith(("hybrid ", "hybrid+rerank "))]
    for index, name in enumerate(shown):
        curve = evaluation.curves[name]
        axes.step(
            [0.0, *curve.false_positive_rates, 1.0],
            [0.0, *curve.true_positive_rates, 1.0],
            where="post",
            label=f"{name}, area {curve.area:.2f}",
            color=_COLOURS[index % len(_COLOURS)],
        )
    axes.plot([0, 1], [0, 1], color="#999", linewidth=0.8, linestyle=":")
    axes.set_xlabel("unanswerable questions answered")
    axes.set_ylabel("answerable questions answered")
    axes.legend(loc="lower right", fontsize=8)
