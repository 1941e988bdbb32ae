"""The short prompts through the whole gate, against a fake engine that knows some of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from quantserve.quantize.gate.case import GateLimits
from quantserve.quantize.gate.judge.verdict import GateVerdict
from quantserve.quantize.gate.measure.config import GateConfig
from quantserve.quantize.gate.run import gate_artifact
from tests.integration.quantize_gate.conftest import Make
from tests.integration.quantize_gate.test_gate import forget_the_measurement, starts


def behave(base: Path, **behaviour: Any) -> None:
    (base / "fake.json").write_text(json.dumps({"decay": 0.5, **behaviour}), encoding="utf-8")


def test_facts_that_are_lost_are_a_regression(config: GateConfig, base: Path, make_artifact: Make) -> None:
    behave(base, knows=[0, 20])

    outcome = gate_artifact(make_artifact(knows=[5, 20]), None, config, GateLimits())

    assert outcome.verdict is GateVerdict.REGRESSION
    # five losses and no gain: one chance in 2^5
    assert outcome.report["reasons"][0].startswith("short prompts: 5 lost, 0 won, p = 0.031 (lost: 'What is")
    assert outcome.report["facts"]["candidate_against_base"]["p"] == 1 / 32
    assert len(outcome.report["facts"]["lost"]) == 5


@pytest.mark.parametrize("knows", [[4, 20], [8, 24]])
def test_facts_that_chance_could_have_lost_are_accepted(
    config: GateConfig, base: Path, make_artifact: Make, knows: list[int]
) -> None:
    behave(base, knows=[0, 20])

    outcome = gate_artifact(make_artifact(knows=knows), None, config, GateLimits(max_divergence=1.0))

    assert outcome.verdict is GateVerdict.ACCEPT  # 4 lost and none won: p = 1/16; 8 lost and 4 won: p = 0.19


def test_a_base_that_knows_too_little_says_nothing(
    config: GateConfig, base: Path, make_artifact: Make
) -> None:
    behave(base, knows=[0, 4])

    outcome = gate_artifact(make_artifact(), None, config, GateLimits(max_divergence=1.0))

    assert outcome.verdict is GateVerdict.ACCEPT
    (check,) = [one for one in outcome.report["checks"] if one["name"] == "short prompts"]
    assert (check["value"], check["passed"]) == ("the base answers too few", None)


def test_the_base_is_asked_in_float32_too_and_once(
    config: GateConfig, base: Path, make_artifact: Make
) -> None:
    behave(base, knows=[0, 20], dtype="bfloat16", float32={"knows": [2, 21]})
    artifact = make_artifact(knows=[0, 20])

    report = gate_artifact(artifact, None, config, GateLimits()).report
    forget_the_measurement(config)
    again = gate_artifact(artifact, None, config, GateLimits(max_ppl_increase=0.2)).report

    assert starts(config) == ["v1", "tiny", "tiny", "v1", "tiny"]
    assert (report["base"]["dtype"], report["facts"]["no_floor"]) == ("bfloat16", None)
    own = report["facts"]["float32_against_base"]
    assert (own["before"], own["after"], own["lost"], own["won"]) == (20, 19, 2, 1)
    assert again["facts"] == report["facts"]


def test_what_float32_loses_as_well_is_the_noise_floor(
    config: GateConfig, base: Path, make_artifact: Make
) -> None:
    """Worse than the base as served, but no worse than the same weights in exact arithmetic."""
    behave(base, knows=[0, 20], dtype="bfloat16", float32={"knows": [5, 20]})

    outcome = gate_artifact(make_artifact(knows=[5, 20]), None, config, GateLimits())

    assert outcome.report["facts"]["candidate_against_base"]["p"] == 1 / 32
    assert outcome.verdict is GateVerdict.ACCEPT
    assert outcome.report["facts"]["lost"] == []


def test_without_room_for_float32_the_report_says_that_there_is_no_floor(
    config: GateConfig, base: Path, make_artifact: Make
) -> None:
    behave(base, knows=[0, 20], dtype="bfloat16", float32={"complaint": "serving: not enough memory"})

    outcome = gate_artifact(make_artifact(knows=[0, 20]), None, config, GateLimits())

    assert outcome.verdict is GateVerdict.ACCEPT
    assert outcome.report["facts"]["no_floor"] == "the base did not run in float32: not enough memory"


def test_answers_that_part_from_the_bases_at_once_are_a_regression(
    config: GateConfig, make_artifact: Make
) -> None:
    outcome = gate_artifact(make_artifact(answer="Other."), None, config, GateLimits())

    assert outcome.verdict is GateVerdict.REGRESSION
    # a token each, and each the first that differs
    assert outcome.report["reasons"] == [
        "greedy divergence, a token: +100.0% (0% of the answers are the base's to the last token), "
        "needed ≤ +18.0%"
    ]


def test_short_answers_that_repeat_themselves_are_a_regression(
    config: GateConfig, make_artifact: Make
) -> None:
    outcome = gate_artifact(make_artifact(answer="la femme " * 12), None, config, GateLimits())

    assert outcome.verdict is GateVerdict.REGRESSION
    assert "short answers: 40 lost, 0 won, p = 9.1e-13, needed p ≥ 0.01" in outcome.report["reasons"]


def test_the_page_shows_the_prompts_that_changed(config: GateConfig, base: Path, make_artifact: Make) -> None:
    behave(base, knows=[0, 20])
    artifact = make_artifact(knows=[1, 20])

    gate_artifact(artifact, None, config, GateLimits())

    page = (artifact / "report.html").read_text(encoding="utf-8")
    assert "Those whose answer became wrong or right, of 40 asked" in page
    assert page.count("What is the capital of France?") >= 1
