"""One gate run from an artifact directory to a verdict."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from quantserve.core.errors import InputError
from quantserve.core.files import exclusive_lock
from quantserve.quantize.artifact import ArtifactError, Manifest, check_files, read_manifest, read_report
from quantserve.quantize.calibration.tokenizer import readable_languages
from quantserve.quantize.gate import keys
from quantserve.quantize.gate.config import GateConfig
from quantserve.quantize.gate.evaluation import Evaluation, bundled, overlap_checked
from quantserve.quantize.gate.tasks import TaskPlan
from quantserve.quantize.gate.thresholds import Thresholds, thresholds_for
from quantserve.quantize.gate.verdict import Verdict
from quantserve.quantize.models.checks import Checkpoint, check_checkpoint
from quantserve.quantize.models.source import content_hash


@dataclass(frozen=True)
class Limits:
    """Thresholds given by the user; None keeps the default of the model's class."""

    max_ppl_increase: float | None = None
    max_mean_kl: float | None = None
    min_top1_agreement: float | None = None
    max_size_ratio: float | None = None
    max_new_bad_answers: int | None = None
    min_speed_ratio: float | None = None
    max_divergence: float | None = None
    min_p: float | None = None
    max_answer_length_ratio: float | None = None
    max_new_broken_calls: int | None = None
    min_task_recovery: float | None = None
    min_mean_recovery: float | None = None

    def over(self, defaults: Thresholds) -> Thresholds:
        """Return the defaults with what was given in their place."""
        return replace(defaults, **{name: value for name, value in asdict(self).items() if value is not None})


@dataclass(frozen=True)
class Case:
    """All that is known about a gate run before an engine is started."""

    directory: Path
    manifest: Manifest
    base: Checkpoint
    base_sha256: str
    evaluation: Evaluation
    thresholds: Thresholds
    engine_version: str | None
    tasks: TaskPlan | None
    key: str


@dataclass(frozen=True)
class Outcome:
    """A verdict with its report; `unchanged` when an earlier report still holds."""

    verdict: Verdict
    report: dict[str, Any]
    unchanged: bool
    seconds: float


def prepare(
    artifact: Path, base: Path | None, config: GateConfig, limits: Limits, tasks: TaskPlan | None = None
) -> Case:
    """Read everything and refuse what cannot be compared; starts nothing.

    Raises:
        ArtifactError, CheckpointError: a directory is not what it should be.
        InputError: the artifact was made from another base.
    """
    directory = artifact.resolve()
    manifest = read_manifest(directory)
    place = base or config.models_dir / manifest.name
    if base is None and not place.is_dir():
        raise InputError(f"the base of {directory} is not at {place}", mend="Name it: --base DIRECTORY")
    checkpoint = check_checkpoint(place)
    base_sha256 = content_hash(checkpoint.directory, config.run_dir)
    if manifest.base is not None and manifest.base.sha256 != base_sha256:
        raise InputError(
            f"{directory} was made from {manifest.base.id}, which {checkpoint.directory} is not (any more)",
            mend="Name the checkpoint it was made from with --base, or quantize again",
        )
    plan = config.measurement
    evaluation = bundled(readable_languages(checkpoint.directory), plan)
    thresholds = limits.over(thresholds_for(manifest.bits, checkpoint.elements))
    version = keys.engine_version(config.serving_python)
    key = keys.report_key(thresholds, plan, evaluation.sha256, base_sha256, version, manifest, tasks)
    return Case(directory, manifest, checkpoint, base_sha256, evaluation, thresholds, version, tasks, key)


def earlier(case: Case) -> Outcome | None:
    """Return the outcome of a report that judged the same thing; INFEASIBLE is always tried again."""
    try:
        report = read_report(case.directory)
        verdict = Verdict(report.get("verdict", ""))
    except (ArtifactError, ValueError):  # not JSON, or of another program: as good as none
        return None
    if report.get("key") != case.key or verdict is Verdict.INFEASIBLE:
        return None
    return Outcome(verdict, report, True, 0.0)


def gate_artifact(
    artifact: Path,
    base: Path | None,
    config: GateConfig,
    limits: Limits,
    *,
    tasks: TaskPlan | None = None,
    force: bool = False,
) -> Outcome:
    """Judge an artifact, or return the earlier judgement of exactly the same.

    Raises:
        GateError: no verdict is possible, for example because the base itself does not run.
        ArtifactError, CheckpointError, InputError: from `prepare`.
        Locked: another gate run is measuring on this machine.
    """
    start = perf_counter()
    case = prepare(artifact, base, config, limits, tasks)
    if not force and (outcome := earlier(case)):
        return replace(outcome, seconds=perf_counter() - start)
    check_files(case.directory, case.manifest, full=True)
    overlap = overlap_checked(case.evaluation, case.manifest.calibration)
    # Everything that needs numpy and HTTP: not imported when nothing is measured.
    from quantserve.quantize.gate.session import judge_case

    with exclusive_lock(config.run_dir / "gate.lock", "a gate run"):
        verdict, report = judge_case(case, config, overlap, force=force)
    return Outcome(verdict, report, False, perf_counter() - start)
