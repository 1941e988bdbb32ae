"""A run's documents, from its raw files: metrics.json, plots, summary.md, report.html; docs/results.md.

Figures and verdicts are computed by today's rules, whatever the run said of itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from quantserve.benchmarks.measure import metrics as m
from quantserve.benchmarks.measure.analysis import analyse
from quantserve.benchmarks.measure.store import METRICS, MeasuredCell, Run
from quantserve.benchmarks.records import Record
from quantserve.benchmarks.report import plots
from quantserve.benchmarks.report import sections as common
from quantserve.benchmarks.servers import public
from quantserve.core.files import write_json, write_text
from quantserve.core.report.page import Judgement, render
from quantserve.core.report.table import Section, Table

SectionMaker = Callable[[Run, dict[str, Any], Path], list[Section]]
"""What a scenario adds: (run, metrics, folder for plots) to sections, shown before the common ones."""


def write_documents(run: Run, special: SectionMaker | None = None) -> tuple[dict[str, Any], list[Section]]:
    """Compute and write everything that follows from a run's raw files; return metrics and own sections."""
    metrics = analyse(run)
    folder = run.path / "plots"
    own = special(run, metrics, folder) if special else []
    sections = [*own, *_standard(run, metrics, folder)]
    write_text(run.path / "summary.md", _summary(run, metrics, sections))
    write_text(run.path / "report.html", _page(run, metrics, sections))
    write_json(run.path / METRICS, metrics)
    return metrics, own


def _standard(run: Run, metrics: dict[str, Any], folder: Path) -> list[Section]:
    """Results, curves, distributions, a timeline, the server's side, failures, circumstances."""
    points = metrics["points"]
    pictures = _pictures(run, points, folder)
    found = [
        common.results(points, metrics["slo"]) if points else None,
        Section("Pictures", pictures=pictures) if pictures else None,
        common.failed(points, run.extra()),
        common.server_side(points),
        common.circumstances(run.config(), run.environment(), points),
    ]
    return [section for section in found if section is not None]


def _pictures(run: Run, points: Sequence[dict[str, Any]], folder: Path) -> list[tuple[str, str]]:
    out = []
    for kind, part in (
        ("closed", [p for p in points if p["users"] is not None]),
        ("open", [p for p in points if p["users"] is None]),
    ):
        if not any(len(line) > 1 for line in plots.series(part).values()):
            continue
        plots.curves(part, folder / f"curves-{kind}.png")
        plots.trade(part, folder / f"trade-{kind}.png")
        out += [
            (f"curves-{kind}.png", f"Throughput and median latencies over {kind}-loop load; bars: 95 %."),
            (
                f"trade-{kind}.png",
                "What each additional token per second costs in latency. Up and left is better.",
            ),
        ]
    measured = run.measured()
    heavy = _heaviest(measured)
    if heavy:
        values: dict[str, dict[str, Sequence[float]]] = {}
        for title, value_of in (("TTFT", m.ttft_s), ("TPOT", m.tpot_s), ("E2E", m.e2e_s)):
            values[title] = {
                name: [v for cell in group for r in _good(cell) if (v := value_of(r)) is not None]
                for name, group in heavy.items()
            }
        plots.distributions(values, folder / "distributions.png")
        out.append(("distributions.png", "Cumulative distributions at each subject's heaviest load."))
        name, group = next(iter(heavy.items()))
        one = group[0]
        begin = one.cell.started_s
        rows = [
            (r.sent_s - begin, r.done_s - begin, r.token_s[0] - begin if r.token_s else None)
            for r in _good(one)[:400]
            if r.done_s is not None
        ]
        samples = [{**row, "t_s": row["t_s"] - begin} for row in one.samples]
        plots.timeline(rows, samples, folder / "timeline.png")
        out.append(("timeline.png", f"{name} at {one.cell.load}, first repeat."))
    return out


def _heaviest(measured: Sequence[MeasuredCell]) -> dict[str, list[MeasuredCell]]:
    """Each subject's cells at its heaviest load."""
    loaded = [one for one in measured if one.cell.users is not None] or measured
    heaviest: dict[str, float] = {}
    for one in loaded:
        heaviest[one.cell.subject] = max(_press(one), heaviest.get(one.cell.subject, 0.0))
    out: dict[str, list[MeasuredCell]] = {}
    for one in loaded:
        if _press(one) == heaviest[one.cell.subject] and _good(one):
            out.setdefault(one.cell.subject, []).append(one)
    return out


def _press(measured: MeasuredCell) -> float:
    return float(measured.cell.users or measured.cell.rate_per_s or 0)


def _good(measured: MeasuredCell) -> list[Record]:
    return [r for r in measured.records if r.ok and r.phase == "measure"]


def _page(run: Run, metrics: dict[str, Any], sections: Sequence[Section]) -> str:
    """The self-contained HTML page."""
    config, verdict = run.config(), metrics["verdict"]
    colour: Literal["good", "bad", "unknown"] = "unknown"
    if verdict["valid"] is not None:
        colour = "good" if verdict["valid"] else "bad"
    return render(
        config.get("title") or run.path.name,
        f"{run.path.name} · {config.get('command', '')}",
        sections,
        judgement=Judgement(*common.VERDICTS[verdict["verdict"]], common.reasons(verdict), colour),
        glossary=common.GLOSSARY,
        plots=run.path / "plots",
    )


def _summary(run: Run, metrics: dict[str, Any], sections: Sequence[Section]) -> str:
    """The Markdown for a pull request or a note."""
    config = run.config()
    word, meaning = common.VERDICTS[metrics["verdict"]["verdict"]]
    lines = [f"# {config.get('title') or run.path.name}", "", f"`{config.get('command', '')}`", ""]
    lines += [f"**{word}**: {meaning}", ""]
    if against := common.reasons(metrics["verdict"]):
        lines += [*(f"- {line}" for line in against), ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        if section.text:
            lines += [section.text, ""]
        for table in section.tables:
            lines += _lines_of(table)
        lines += [f"![{caption}](plots/{name})\n" for name, caption in section.pictures]
    return "\n".join(lines)


def _lines_of(table: Table) -> list[str]:
    return [table.markdown(), *([table.note, ""] if table.note else [])]


def results_page(runs: Sequence[tuple[Run, SectionMaker | None]]) -> str:
    """The whole of docs/results.md: a chapter for each run, with the command that made it."""
    head = (
        "# Measured results\n\n"
        "Generated by `quantserve benchmarks results RUN… ` from the raw records of stored runs; edit "
        "nothing here. Latencies are in milliseconds. A run that is not valid, or not known to be, is shown "
        "with the reasons. A dash stands for a percentile that too few requests carry.\n"
    )
    return "\n".join([head, *(chapter(run, special) for run, special in runs)])


def chapter(run: Run, special: SectionMaker | None) -> str:
    """One run: what was asked, where it ran, whether it may be believed, its tables."""
    metrics, config = analyse(run), run.config()
    tables: list[Table] = []
    if special is not None:
        tables += [table for section in special(run, metrics, run.path / "plots") for table in section.tables]
    if metrics["points"]:
        tables.append(common.brief(metrics["points"]))
    verdict = metrics["verdict"]
    against = "; ".join(common.reasons(verdict))
    lines = [f"## {config['title']}", "", _where(run), "", "```", *public([config["command"]]), "```", ""]
    lines += [f"Verdict: **{verdict['verdict']}**{f' ({against})' if against else ''}.", ""]
    for table in tables:
        lines += [f"**{table.title}**", "", *_lines_of(table)]
    failed = common.failed(metrics["points"], run.extra())
    if failed is not None:
        lines += [f"**{failed.title}**", "", *(table.markdown() for table in failed.tables)]
    return "\n".join(lines)


def _where(run: Run) -> str:
    environment = run.environment()
    cpu = environment.get("cpu") or {}
    gpus = ", ".join(environment.get("gpus") or []) or "no GPU"
    memory = (environment.get("memory_bytes") or 0) / 2**30
    return (
        f"Run `{run.path.name}` on {cpu.get('model')} ({cpu.get('cores')} cores, {memory:.0f} GiB, {gpus}), "
        f"source {environment.get('commit')}."
    )
