"""`report.html`: an evaluation on one page that needs nothing beside itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from quantserve.core.report.page import render
from quantserve.core.report.plots import COLOURS, svg
from quantserve.core.report.table import Section, Table
from quantserve.rag.evaluate import show
from quantserve.rag.evaluate.run import JUDGED_BY, Evaluation
from quantserve.rag.trust.fit import KEEP

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INCHES = 7.2, 3.4


def page(evaluation: Evaluation, created: str) -> str:
    """Return the page as HTML."""
    differences = [
        [mode, show.interval(value, signed=True)] for mode, value in evaluation.differences.items()
    ]
    tables: list[tuple[str, str, Sequence[str], list[list[str]]]] = [
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
    pictures = [
        (svg(lambda axes: _modes(axes, evaluation), *_INCHES), f"{JUDGED_BY} of each mode; bars: 95 %."),
        (
            svg(lambda axes: _curves(axes, evaluation), *_INCHES),
            "What each score tells: up and left is better.",
        ),
    ]
    sections = [Section("", "\n".join(evaluation.notes), pictures=pictures)]
    sections += [Section(title, text, [Table("", columns, rows)]) for title, text, columns, rows in tables]
    return render("How well questions find their passages", _subtitle(evaluation, created), sections)


def _subtitle(evaluation: Evaluation, created: str) -> str:
    index, questions = evaluation.index, evaluation.questions
    words = [
        created,
        f"generation {index['generation']}, {index['chunks']} passages, {index['embedding_model']} "
        f"({index['embedding_fingerprint']})",
        f"{questions['all']} questions, {questions['scored']} scored, "
        f"{questions['unanswerable']} without an answer in the documents",
    ]
    if evaluation.missing:
        words.append(f"{len(evaluation.missing)} left out: the index does not hold their evidence")
    return " · ".join(words)


def _modes(axes: Axes, evaluation: Evaluation) -> None:
    names = ["all", *evaluation.groups]
    modes = list(evaluation.modes)
    width = 0.8 / len(modes)
    for index, mode in enumerate(modes):
        values = [evaluation.modes[mode][JUDGED_BY], *(group[mode] for group in evaluation.groups.values())]
        places = [x - 0.4 + width * (index + 0.5) for x in range(len(names))]
        means = [value.mean for value in values]
        errors = [[v.mean - v.low for v in values], [v.high - v.mean for v in values]]
        axes.bar(places, means, width * 0.9, label=mode, color=COLOURS[index % len(COLOURS)])
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
            color=COLOURS[index % len(COLOURS)],
        )
    axes.plot([0, 1], [0, 1], color="#999", linewidth=0.8, linestyle=":")
    axes.set_xlabel("unanswerable questions answered")
    axes.set_ylabel("answerable questions answered")
    axes.legend(loc="lower right", fontsize=8)
