"""Write metrics.json, plots, summary.md and report.html of a run, all from its raw files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from quantserve.benchmarks.analyse import analyse
from quantserve.benchmarks.metrics import latency
from quantserve.benchmarks.report import common, plots
from quantserve.benchmarks.store import METRICS, Measured, Run
from quantserve.core.files import write_json, write_text
from quantserve.core.report.page import Judgement, render
from quantserve.core.report.table import Section

SectionMaker = Callable[[Run, dict[str, Any], Path], list[Section]]
"""What a program adds: (run, metrics, folder for plots) to sections, shown before the common ones."""


def write(run: Run, special: SectionMaker | None = None) -> tuple[dict[str, Any], list[Section]]:
    """Compute and write everything that follows from a run's raw files; return metrics and own sections."""
    metrics = analyse(run)
    folder = run.path / "plots"
    own = special(run, metrics, folder) if special else []
    sections = [*own, *standard(run, metrics, folder)]
    write_text(run.path / "summary.md", markdown(run, metrics, sections))
    write_text(run.path / "report.html", page(run, metrics, sections))
    write_json(run.path / METRICS, metrics)
    return metrics, own


def standard(run: Run, metrics: dict[str, Any], folder: Path) -> list[Section]:
    """Results, curves, distributions, a timeline, the server's side, failures, circumstances."""
    points = metrics["points"]
    sections = [common.results(points, metrics["slo"])] if points else []
    pictures = _pictures(run, points, folder)
    if pictures:
        sections.append(Section("Pictures", pictures=pictures))
    for section in (common.failed(points, run.extra()), common.server_side(points)):
        if section is not None:
            sections.append(section)
    sections.append(common.circumstances(run.config(), run.environment(), points))
    return sections


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
        for title, value_of in (("TTFT", latency.ttft_s), ("TPOT", latency.tpot_s), ("E2E", latency.e2e_s)):
            values[title] = {
                name: [v for m in group for r in _good(m) if (v := value_of(r)) is not None]
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


def _heaviest(measured: Sequence[Measured]) -> dict[str, list[Measured]]:
    """Each subject's cells at its heaviest load."""
    closed = [m for m in measured if m.cell.users is not None]
    measured = closed or measured
    heaviest: dict[str, float] = {}
    for m in measured:
        press = float(m.cell.users or m.cell.rate_per_s or 0)
        heaviest[m.cell.subject] = max(press, heaviest.get(m.cell.subject, 0.0))
    out: dict[str, list[Measured]] = {}
    for m in measured:
        if float(m.cell.users or m.cell.rate_per_s or 0) == heaviest[m.cell.subject] and _good(m):
            out.setdefault(m.cell.subject, []).append(m)
    return out


def _good(measured: Measured) -> list[Any]:
    return [r for r in measured.records if r.ok and r.phase == "measure"]


def page(run: Run, metrics: dict[str, Any], sections: Sequence[Section]) -> str:
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


def markdown(run: Run, metrics: dict[str, Any], sections: Sequence[Section]) -> str:
    """The summary for a pull request or a note."""
    config = run.config()
    lines = [f"# {config.get('title') or run.path.name}", "", f"`{config.get('command', '')}`", ""]
    word, meaning = common.VERDICTS[metrics["verdict"]["verdict"]]
    lines += [f"**{word}**: {meaning}", ""]
    if against := common.reasons(metrics["verdict"]):
        lines += [*(f"- {line}" for line in against), ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        if section.text:
            lines += [section.text, ""]
        for table in section.tables:
            lines += [table.markdown()]
            if table.note:
                lines += [table.note, ""]
        lines += [f"![{caption}](plots/{name})\n" for name, caption in section.pictures]
    return "\n".join(lines)
