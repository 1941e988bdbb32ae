"""All that is known about a gate run before an engine is started; what cannot be compared is refused."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from quantserve.core.errors import InputError
from quantserve.quantize.artifact import Manifest, read_manifest
from quantserve.quantize.calibration.languages import readable_languages
from quantserve.quantize.gate import keys
from quantserve.quantize.gate.evaluation import EvaluationText, bundled_evaluation
from quantserve.quantize.gate.judge.thresholds import Thresholds, thresholds_for
from quantserve.quantize.gate.measure.config import GateConfig
from quantserve.quantize.gate.measure.tasks import TaskPlan
from quantserve.quantize.models.checks import Checkpoint, check_checkpoint
from quantserve.quantize.models.source import content_hash


@dataclass(frozen=True)
class GateLimits:
    """Thresholds given by the user; None keeps the default of the model's class.

    max_ppl_increase: highest perplexity increase.
    max_mean_kl: highest mean KL divergence, nats.
    min_top1_agreement: lowest share of positions where both models put the same token first.
    max_size_ratio: highest size of the weights, ×base.
    max_new_bad_answers: chat answers that may be ill-formed where the base's are not.
    min_speed_ratio: lowest output speed, ×base; by default reported, not judged.
    max_divergence: how much likelier than in the base itself a greedy token may be the first that differs.
    min_p: significance of fewer right answers to short prompts.
    max_answer_length_ratio: highest length of the chat answers, ×base.
    max_new_broken_calls: tool calls that may be unreadable where the base's are readable.
    min_task_recovery: lowest share of the base's score on any benchmark task.
    min_mean_recovery: lowest mean of those shares.
    """

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
    evaluation: EvaluationText
    thresholds: Thresholds
    deployment: keys.Deployment
    tasks: TaskPlan | None
    key: str


def prepare_case(
    artifact: Path, base: Path | None, config: GateConfig, limits: GateLimits, tasks: TaskPlan | None = None
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
    evaluation = bundled_evaluation(readable_languages(checkpoint.directory), plan)
    thresholds = limits.over(thresholds_for(manifest.bits, checkpoint.elements))
    where = keys.deployment_of(config, checkpoint.directory, directory)
    key = keys.report_key(thresholds, plan, evaluation.sha256, base_sha256, where, manifest, tasks)
    return Case(directory, manifest, checkpoint, base_sha256, evaluation, thresholds, where, tasks, key)
