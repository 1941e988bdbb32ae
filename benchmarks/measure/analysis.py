"""Compute every figure of a run from its raw files: what `benchmarks report RUN` does again at any time."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from quantserve.benchmarks.measure import validity
from quantserve.benchmarks.measure.metrics import Slo, point
from quantserve.benchmarks.measure.sampling import Sample, summarise
from quantserve.benchmarks.measure.store import MeasuredCell, Run
from quantserve.benchmarks.records import LoadCell, Record


def slo_of(config: dict[str, Any]) -> Slo:
    """The SLO a run was made with."""
    return Slo(**(config.get("slo") or {}))


def analyse(run: Run) -> dict[str, Any]:
    """Points (cells grouped over their repeats) with figures, server summary and verdict.

    A point of a subject that failed to start appears in `extra.failed_subjects`, not here. What a scenario
    measured without requests has its samples, part by part, in `extra.parts`; they count for the verdict.
    """
    cores = (run.environment().get("cpu") or {}).get("cores") or 1
    slo = slo_of(run.config())
    groups: dict[tuple[str, str, str], list[MeasuredCell]] = {}
    for measured in run.measured():
        groups.setdefault(measured.cell.point, []).append(measured)
    points = [_point(group, slo, cores) for group in groups.values()]
    found = [
        (f"{p['subject']} {p['load']}", validity.Reason(**reason))
        for p in points
        for reason in p["verdict"]["reasons"]
    ]
    parts: dict[str, list[Sample]] = run.extra().get("parts") or {}
    found += [
        (part, reason)
        for part, samples in parts.items()
        for reason in validity.judge_machine(samples, summarise(samples, cores))
    ]
    if not (points or parts):
        found.append(("run", validity.Reason("nothing_measured", "nothing was measured")))
    verdict = _verdict([reason for _, reason in found])
    reasons = [{"point": where, **dataclasses.asdict(reason)} for where, reason in found]
    return {"points": points, "slo": dataclasses.asdict(slo), "verdict": {**verdict, "reasons": reasons}}


def _verdict(reasons: Sequence[validity.Reason]) -> dict[str, Any]:
    """`verdict` is one of three words, `valid` the same as true, false, or null where it is not known."""
    word = validity.verdict(reasons)
    valid = None if word is validity.RunVerdict.NOT_KNOWN else word is validity.RunVerdict.VALID
    return {
        "verdict": str(word),
        "valid": valid,
        "reasons": [dataclasses.asdict(reason) for reason in reasons],
    }


def _point(group: Sequence[MeasuredCell], slo: Slo, cores: int) -> dict[str, Any]:
    first: LoadCell = group[0].cell
    summaries = [summarise(measured.samples, cores) for measured in group]
    reasons: dict[str, validity.Reason] = {}
    for measured, summary in zip(group, summaries, strict=True):
        for reason in validity.judge(_evidence(measured, summary)):
            reasons.setdefault(reason.code, reason)
    steady = validity.judge_steady([_counted(measured) for measured in group], first.users)
    if steady is not None:
        reasons[steady.code] = steady
    if not first.exact_tokens:
        reasons["inexact_tokens"] = validity.Reason(
            "inexact_tokens", "the server has no tokenizer endpoint: prompt lengths are guesses"
        )
    return {
        "subject": first.subject,
        "workload": first.workload,
        "load": first.load,
        "users": first.users,
        "rate_per_s": first.rate_per_s,
        "cells": [measured.cell.id for measured in group],
        "figures": point([record for measured in group for record in measured.records], slo),
        "server": _merge(summaries),
        "started_with": first.server,
        "verdict": _verdict(list(reasons.values())),
    }


def _counted(measured: MeasuredCell) -> list[Record]:
    return [record for record in measured.records if record.phase == "measure"]


def _evidence(measured: MeasuredCell, summary: dict[str, float | None]) -> validity.Evidence:
    cell = measured.cell
    return validity.Evidence(
        records=_counted(measured),
        lags=[lag for _, lag in measured.lags],
        samples=measured.samples,
        summary=summary,
        client_cpu_share=cell.client_cpu_share,
        users=cell.users,
        rate_per_s=cell.rate_per_s,
        shared_tokens=cell.shared_tokens,
        single_turn=cell.single_turn,
        load_processes=cell.processes,
        new_prompts=cell.new_prompts,
        processes_unknown=str(cell.server.get("processes_unknown") or ""),
    )


def _merge(summaries: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """Over repeats: the highest of peaks, the sum of counts, the mean of the rest."""
    merged: dict[str, float | None] = {}
    for name in summaries[0] if summaries else ():
        values = [value for summary in summaries if (value := summary[name]) is not None]
        if not values:
            merged[name] = None
        elif name.endswith("_max"):
            merged[name] = max(values)
        elif name in {"preemptions", "gpu_energy_j"}:
            merged[name] = sum(values)
        else:
            merged[name] = sum(values) / len(values)
    return merged
