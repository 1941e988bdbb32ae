"""One gate run from an artifact directory to a verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from quantserve.core.errors import UsageError
from quantserve.core.files import exclusive_lock
from quantserve.quantize.artifact import ArtifactError, check_files, read_report
from quantserve.quantize.config import as_paths, take_options
from quantserve.quantize.gate import keys
from quantserve.quantize.gate.case import Case, GateLimits, prepare_case
from quantserve.quantize.gate.evaluation import overlap_checked
from quantserve.quantize.gate.judge.verdict import GateVerdict
from quantserve.quantize.gate.measure.config import GateConfig
from quantserve.quantize.gate.measure.tasks import TaskPlan


@dataclass(frozen=True)
class GateOutcome:
    """A verdict with its report; `unchanged` when an earlier report still holds."""

    verdict: GateVerdict
    report: dict[str, Any]
    unchanged: bool
    seconds: float


def earlier_outcome(case: Case) -> GateOutcome | None:
    """Return the outcome of a report that judged the same thing; INFEASIBLE is always tried again."""
    try:
        report = read_report(case.directory)
        verdict = GateVerdict(report.get("verdict", ""))
    except (ArtifactError, ValueError):  # not JSON, or of another program: as good as none
        return None
    if report.get("key") != case.key or verdict is GateVerdict.INFEASIBLE:
        return None
    if not keys.same_plans(case.deployment, report["environment"]["plans"]):
        return None
    return GateOutcome(verdict, report, True, 0.0)


def gate_artifact(
    artifact: Path,
    base: Path | None,
    config: GateConfig,
    limits: GateLimits,
    *,
    tasks: TaskPlan | None = None,
    force: bool = False,
) -> GateOutcome:
    """Judge an artifact, or return the earlier judgement of exactly the same.

    Raises:
        GateError: no verdict is possible, for example because the base itself does not run.
        ArtifactError, CheckpointError, InputError: from `prepare`.
        Locked: another gate run is measuring on this machine.
    """
    start = perf_counter()
    case = prepare_case(artifact, base, config, limits, tasks)
    if not force and (outcome := earlier_outcome(case)):
        return replace(outcome, seconds=perf_counter() - start)
    check_files(case.directory, case.manifest, full=True)
    overlap = overlap_checked(case.evaluation, case.manifest.calibration)
    # Everything that needs numpy and HTTP: not imported when nothing is measured.
    from quantserve.quantize.gate.session import judge_case

    with exclusive_lock(config.run_dir / "gate.lock", "a gate run"):
        verdict, report = judge_case(case, config, overlap, force=force)
    return GateOutcome(verdict, report, False, perf_counter() - start)


def gate_by_options(
    artifact: Path | str, base: Path | str | None = None, *, force: bool = False, **options: Any
) -> GateOutcome:
    """Judge an artifact with options by their names; see `quantize.gate`.

    Raises:
        UsageError: an unknown option.
    """
    more: dict[str, Any] = {}
    if (tasks := options.pop("tasks", None)) is not None:
        names = tuple(tasks.split(",")) if isinstance(tasks, str) else tuple(tasks)
        folder = options.pop("tasks_dir", None)
        more["tasks"] = TaskPlan(names, Path(folder) if folder else None, options.pop("tasks_limit", None))
    limits = GateLimits(**take_options(options, GateLimits))
    config = GateConfig(**as_paths(take_options(options, GateConfig)))
    if options:
        raise UsageError(f"gate has no option {next(iter(options))}", mend="See help(quantize.gate)")
    return gate_artifact(Path(artifact), Path(base) if base else None, config, limits, force=force, **more)
