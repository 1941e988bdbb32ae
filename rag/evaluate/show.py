"""An evaluation as tables for people."""

from __future__ import annotations

from rich.table import Table

from quantserve.core.stats import Estimate
from quantserve.rag.evaluate.ranking import METRICS
from quantserve.rag.evaluate.run import JUDGED_BY, Evaluation
from quantserve.rag.trust.calibration import Limit


def interval(value: Estimate | None, *, signed: bool = False) -> str:
    """Write a mean with its interval."""
    if value is None:
        return "none"
    form = "+.3f" if signed else ".3f"
    return f"{value.mean:{form}} ({value.low:{form}}…{value.high:{form}})"


def modes_rows(evaluation: Evaluation) -> list[list[str]]:
    """Return one row a mode: every metric, and the milliseconds of a search."""
    return [
        [mode, *(interval(values[name]) for name in METRICS), f"{evaluation.search_ms[mode]:.1f}"]
        for mode, values in evaluation.modes.items()
    ]


def groups_rows(evaluation: Evaluation) -> list[list[str]]:
    """Return one row a group of questions: every mode's nDCG@10."""
    return [
        [f"{name} ({evaluation.questions[name]})", *(interval(value) for value in values.values())]
        for name, values in evaluation.groups.items()
    ]


def calibration_rows(evaluation: Evaluation) -> list[list[str]]:
    """Return one row a mode: its limits and what they did."""
    return [
        [
            f"{one.mode}+{one.reranker}" if one.reranker else one.mode,
            ", ".join(map(_limit, one.limits)) or "none",
            f"{one.kept:.1%} of {one.answerable}",
            f"{one.refused:.1%} of {one.unanswerable}",
        ]
        for one in evaluation.calibrations
    ]


def _limit(limit: Limit) -> str:
    least = "" if limit.least is None else f" ≥ {limit.least:.4f}"
    most = "" if limit.most is None else f" ≤ {limit.most:.0f}"
    return f"{limit.signal}{least}{most}"


def areas_rows(evaluation: Evaluation) -> list[list[str]]:
    """Return one row a score of a mode: the area under its curve against each kind of unanswerable ones."""
    return [
        [name, ", ".join(f"{kind} {area:.3f}" for kind, area in areas.items())]
        for name, areas in evaluation.areas.items()
    ]


def answers_rows(evaluation: Evaluation) -> list[list[str]]:
    """Return one row a figure of the answers; none without answers."""
    found = evaluation.answers
    if found is None:
        return []
    rows = [
        [
            "answers",
            f"{found.answers} ({', '.join(f'{n} {mode}' for mode, n in sorted(found.modes.items()))})",
        ],
        ["judge", found.judge],
        ["faithfulness", interval(found.faithfulness)],
        ["citation precision", interval(found.citation_precision)],
        ["citations of the gold passage", interval(found.citation_gold)],
    ]
    for name, value in (
        ("answerable, refused", found.refused_answerable),
        ("unanswerable, refused", found.refused_unanswerable),
    ):
        rows.append([name, "none asked" if value is None else f"{value:.1%}"])
    return rows


MODES_COLUMNS = ("mode", *METRICS, "ms")
CALIBRATION_COLUMNS = ("mode", "limits", "answerable kept", "unanswerable refused")
AREAS_COLUMNS = ("mode, score", "ROC area by kind")


def groups_columns(evaluation: Evaluation) -> tuple[str, ...]:
    """Return the columns of the groups' table."""
    return (f"{JUDGED_BY}, questions", *evaluation.modes)


def tables(evaluation: Evaluation) -> list[Table]:
    """Return the tables for a terminal."""
    found = [
        _table(MODES_COLUMNS, modes_rows(evaluation)),
        _table(groups_columns(evaluation), groups_rows(evaluation)),
        _table(
            ("hybrid against", f"{JUDGED_BY} gained"),
            [[mode, interval(value, signed=True)] for mode, value in evaluation.differences.items()],
        ),
        _table(CALIBRATION_COLUMNS, calibration_rows(evaluation)),
        _table(AREAS_COLUMNS, areas_rows(evaluation)),
    ]
    rows = answers_rows(evaluation)
    return [*found, _table(("answers", "value"), rows)] if rows else found


def _table(columns: tuple[str, ...], rows: list[list[str]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
