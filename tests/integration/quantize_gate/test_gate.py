"""The whole gate against a fake engine: verdicts, reports, caching, and that no engine is left behind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from core.errors import InputError
from quantize.artifact import ArtifactError, read_report
from quantize.gate.config import GateConfig
from quantize.gate.errors import GateError
from quantize.gate.run import Limits, gate_artifact
from quantize.gate.verdict import Verdict
from tests.integration.quantize_gate.conftest import Make

KEYS = {
    *("verdict", "reasons", "figures", "checks", "thresholds", "base", "candidate"),
    *("evaluation", "answers", "environment", "created", "key"),
}


def starts(config: GateConfig) -> list[str]:
    """The targets that were served, in order."""
    lines = (config.run_dir / "starts").read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if psutil.pid_exists(int(line.split()[1]))], "an engine was left"
    return [line.split()[0] for line in lines]


def test_a_sound_artifact_is_accepted_with_the_figures_of_its_distributions(
    config: GateConfig, make_artifact: Make
) -> None:
    artifact = make_artifact()

    outcome = gate_artifact(artifact, None, config, Limits())

    assert (outcome.verdict, outcome.report["reasons"]) == (Verdict.ACCEPT, [])
    figures = outcome.report["figures"]
    # the actual token has 0.5 in the base and 0.48 in the candidate
    assert figures["base_perplexity"] == pytest.approx(2.0)
    assert figures["candidate_perplexity"] == pytest.approx(1 / 0.48)
    assert figures["perplexity_ratio"]["value"] == pytest.approx(1.0416667)
    # KL of geometric distributions: ln(0.5/0.48) + ln(0.5/0.52) * 0.5/0.5
    assert figures["mean_kl"]["value"] == pytest.approx(0.0408220 - 0.0392207, abs=1e-6)
    assert figures["top1_agreement"]["value"] == 1.0
    assert starts(config) == ["tiny", "v1"]


def test_the_report_is_written_into_the_artifact(config: GateConfig, make_artifact: Make) -> None:
    artifact = make_artifact()

    outcome = gate_artifact(artifact, None, config, Limits())

    report = read_report(artifact)
    assert set(report) == KEYS
    assert report == json.loads(json.dumps(outcome.report))
    assert report["base"]["kv_cache_tokens"] == 64
    assert report["candidate"]["kernels"] == ["CPUWNA16LinearKernel"]
    assert report["candidate"]["output_tokens_per_s"].keys() == {"1", "4"}
    assert report["answers"][0]["candidate"] == "A good answer."


def test_what_was_judged_is_not_judged_again(config: GateConfig, make_artifact: Make) -> None:
    artifact = make_artifact()
    gate_artifact(artifact, None, config, Limits())

    again = gate_artifact(artifact, None, config, Limits())

    assert (again.verdict, again.unchanged) == (Verdict.ACCEPT, True)
    assert starts(config) == ["tiny", "v1"]


def test_other_thresholds_measure_the_candidate_alone(config: GateConfig, make_artifact: Make) -> None:
    artifact = make_artifact()
    gate_artifact(artifact, None, config, Limits())

    stricter = gate_artifact(artifact, None, config, Limits(max_ppl_increase=0.01))

    assert stricter.verdict is Verdict.REGRESSION
    assert stricter.report["base"]["cached"] is True
    assert starts(config) == ["tiny", "v1", "v1"]


def test_force_measures_both_again(config: GateConfig, make_artifact: Make) -> None:
    artifact = make_artifact()
    gate_artifact(artifact, None, config, Limits())

    gate_artifact(artifact, None, config, Limits(), force=True)

    assert starts(config) == ["tiny", "v1", "tiny", "v1"]


def test_a_damaged_artifact_is_a_regression(config: GateConfig, make_artifact: Make) -> None:
    outcome = gate_artifact(make_artifact(shift=3), None, config, Limits())

    assert outcome.verdict is Verdict.REGRESSION
    # the actual token is fourth: 0.48 * 0.52^3 = 0.0674922 against 0.5
    assert outcome.report["figures"]["perplexity_ratio"]["value"] == pytest.approx(7.40826, rel=1e-4)
    assert outcome.report["figures"]["top1_agreement"]["value"] == 0.0


def test_answers_that_do_not_end_are_a_regression(config: GateConfig, make_artifact: Make) -> None:
    outcome = gate_artifact(make_artifact(finish_reason="length"), None, config, Limits())

    assert outcome.verdict is Verdict.REGRESSION
    assert outcome.report["reasons"][0].startswith("chat answers: 8 newly bad")


def test_another_chat_template_is_a_regression(config: GateConfig, make_artifact: Make) -> None:
    outcome = gate_artifact(make_artifact(prompt_ids=[1, 2]), None, config, Limits())

    assert outcome.verdict is Verdict.REGRESSION
    assert outcome.report["reasons"] == ["chat prompts as tokens: different, needed same"]


def test_plain_weights_under_a_quantized_name_are_anomalous(config: GateConfig, make_artifact: Make) -> None:
    outcome = gate_artifact(make_artifact(log=[]), None, config, Limits())

    assert outcome.verdict is Verdict.ANOMALOUS
    assert outcome.report["reasons"] == [
        "quantized kernel: the engine's log says it reads plain weights, needed loaded"
    ]


def test_a_candidate_that_does_not_load_is_infeasible_and_tried_again(
    config: GateConfig, make_artifact: Make
) -> None:
    artifact = make_artifact(complaint="serving: the engine ended: ValueError: no kernel for group size 48")

    for _ in range(2):
        outcome = gate_artifact(artifact, None, config, Limits())

        assert outcome.verdict is Verdict.INFEASIBLE
        assert outcome.report["reasons"] == ["the engine ended: ValueError: no kernel for group size 48"]
        assert outcome.report["figures"] is None
    assert starts(config) == ["tiny", "v1", "v1"]


def test_a_candidate_that_dies_while_it_is_measured_is_infeasible(
    config: GateConfig, make_artifact: Make
) -> None:
    outcome = gate_artifact(make_artifact(die_after=2), None, config, Limits())

    assert outcome.verdict is Verdict.INFEASIBLE
    assert "did not answer /v1/completions" in outcome.report["reasons"][0]
    assert starts(config) == ["tiny", "v1"]


def test_a_base_that_does_not_start_says_nothing_about_the_candidate(
    config: GateConfig, base: Path, make_artifact: Make
) -> None:
    complaint = {"complaint": "serving: not enough memory for the model"}
    (base / "fake.json").write_text(json.dumps(complaint), encoding="utf-8")
    artifact = make_artifact()

    with pytest.raises(GateError, match="could not be measured: not enough memory for the model"):
        gate_artifact(artifact, None, config, Limits())
    assert read_report(artifact) == {}


def test_an_artifact_of_another_base_is_refused(config: GateConfig, base: Path, make_artifact: Make) -> None:
    artifact = make_artifact()
    (base / "config.json").write_text('{"other": 1}', encoding="utf-8")

    with pytest.raises(InputError, match="was made from tiny"):
        gate_artifact(artifact, None, config, Limits())


def test_a_broken_serving_environment_is_no_verdict(config: GateConfig, make_artifact: Make) -> None:
    artifact = make_artifact()
    broken = replace(config, serving_python=Path("/nowhere/python"))

    with pytest.raises(GateError, match="no serving environment at /nowhere/python"):
        gate_artifact(artifact, None, broken, Limits())
    assert read_report(artifact) == {}


def test_a_changed_artifact_is_refused_before_anything_starts(
    config: GateConfig, make_artifact: Make
) -> None:
    artifact = make_artifact()
    weights = artifact / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)

    with pytest.raises(ArtifactError, match="changed after it was made"):
        gate_artifact(artifact, None, config, Limits())
    assert not (config.run_dir / "starts").exists()


def test_a_damaged_cache_entry_is_measured_again(config: GateConfig, make_artifact: Make) -> None:
    artifact = make_artifact()
    gate_artifact(artifact, None, config, Limits())
    (entry,) = (config.run_dir / "gate-cache").glob("*.npz")
    entry.write_bytes(b"PK")

    gate_artifact(artifact, None, config, Limits(max_ppl_increase=0.2))

    assert starts(config) == ["tiny", "v1", "tiny", "v1"]


@pytest.mark.parametrize("text", ["", "{", '{"verdict": "MAYBE"}'])
def test_an_unreadable_report_is_replaced(config: GateConfig, make_artifact: Make, text: str) -> None:
    artifact = make_artifact()
    (artifact / "report.json").write_text(text, encoding="utf-8")

    gate_artifact(artifact, None, config, Limits())

    assert read_report(artifact)["verdict"] == "ACCEPT"
