"""The whole gate against a fake engine: verdicts, reports, caching, and that no engine is left behind."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from quantserve.core.errors import InputError
from quantserve.core.files import sha256_file
from quantserve.quantize.__main__ import app
from quantserve.quantize.artifact import (
    ArtifactError,
    FileRecord,
    check_files,
    read_manifest,
    read_report,
    write_manifest,
)
from quantserve.quantize.gate import keys
from quantserve.quantize.gate.case import GateLimits
from quantserve.quantize.gate.judge.verdict import GateVerdict
from quantserve.quantize.gate.measure.config import GateConfig
from quantserve.quantize.gate.measure.errors import GateError, TasksFailed
from quantserve.quantize.gate.measure.tasks import TaskPlan
from quantserve.quantize.gate.run import gate_artifact
from tests.integration.quantize_gate.conftest import Make

KEYS = {
    *("verdict", "reasons", "figures", "languages", "speed", "checks", "thresholds", "base", "candidate"),
    *("evaluation", "answers", "tool_calls", "facts", "tasks", "environment", "created", "key"),
}


def starts(config: GateConfig) -> list[str]:
    """The targets that were served, in order."""
    lines = (config.run_dir / "starts").read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if psutil.pid_exists(int(line.split()[1]))], "an engine was left"
    return [line.split()[0] for line in lines]


def forget_the_measurement(config: GateConfig) -> None:
    """Leave the base's view alone, as when another candidate is measured."""
    (entry,) = (config.run_dir / "gate-cache" / "measurements").glob("*.json")
    entry.write_text("{", encoding="utf-8")


def test_a_sound_artifact_is_accepted_with_the_figures_of_its_distributions(
    config: GateConfig, make_artifact: Make
) -> None:
    artifact = make_artifact()

    outcome = gate_artifact(artifact, None, config, GateLimits())

    assert (outcome.verdict, outcome.report["reasons"]) == (GateVerdict.ACCEPT, [])
    figures = outcome.report["figures"]
    # the actual token has 0.5 in the base and 0.48 in the candidate
    assert figures["base_perplexity"] == pytest.approx(2.0)
    assert figures["candidate_perplexity"] == pytest.approx(1 / 0.48)
    assert figures["perplexity_ratio"]["value"] == pytest.approx(1.0416667)
    # KL of geometric distributions: ln(0.5/0.48) + ln(0.5/0.52) * 0.5/0.5
    assert figures["mean_kl"]["value"] == pytest.approx(0.0408220 - 0.0392207, abs=1e-6)
    assert figures["top1_agreement"]["value"] == 1.0
    assert starts(config) == ["v1", "tiny"]


def test_the_report_is_written_into_the_artifact(config: GateConfig, make_artifact: Make) -> None:
    artifact = make_artifact()

    outcome = gate_artifact(artifact, None, config, GateLimits())

    report = read_report(artifact)
    assert set(report) == KEYS
    assert report == json.loads(json.dumps(outcome.report))
    assert report["base"]["kv_cache_tokens"] == 64
    assert report["candidate"]["kernels"] == ["CPUWNA16LinearKernel"]
    assert report["candidate"]["output_tokens_per_s"].keys() == {"1", "4"}
    assert report["answers"][0]["candidate"] == "Good."


def test_what_was_judged_is_not_judged_again(config: GateConfig, make_artifact: Make) -> None:
    artifact = make_artifact()
    gate_artifact(artifact, None, config, GateLimits())

    again = gate_artifact(artifact, None, config, GateLimits())

    assert (again.verdict, again.unchanged) == (GateVerdict.ACCEPT, True)
    assert starts(config) == ["v1", "tiny"]


def test_other_thresholds_judge_the_same_measurement(config: GateConfig, make_artifact: Make) -> None:
    artifact = make_artifact()
    gate_artifact(artifact, None, config, GateLimits())

    stricter = gate_artifact(artifact, None, config, GateLimits(max_ppl_increase=0.01))
    again = gate_artifact(artifact, None, config, GateLimits())

    assert (stricter.verdict, again.verdict) == (GateVerdict.REGRESSION, GateVerdict.ACCEPT)
    assert again.report["speed"] == stricter.report["speed"]
    assert starts(config) == ["v1", "tiny"]


def test_another_candidate_takes_the_base_view_from_before(config: GateConfig, make_artifact: Make) -> None:
    artifact = make_artifact()
    gate_artifact(artifact, None, config, GateLimits())
    forget_the_measurement(config)

    outcome = gate_artifact(artifact, None, config, GateLimits(max_ppl_increase=0.2))

    assert outcome.report["base"]["cached"] is True
    assert starts(config) == ["v1", "tiny", "v1", "tiny"]  # speed is always measured on both


def written(config: GateConfig, plan: str) -> None:
    """Let `serving plan` say this from now on."""
    (config.run_dir / "plan.json").write_text(plan, encoding="utf-8")


def other_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = {**keys.machine(), "processor": "another"}
    monkeypatch.setattr(keys, "machine", lambda: machine)


def other_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "engine_version", lambda python: "vllm-9.9.9")


@pytest.mark.parametrize("change", [other_machine, other_engine])
def test_another_machine_or_engine_measures_both_again(
    config: GateConfig,
    make_artifact: Make,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[pytest.MonkeyPatch], None],
) -> None:
    artifact = make_artifact()
    gate_artifact(artifact, None, config, GateLimits())
    change(monkeypatch)

    again = gate_artifact(artifact, None, config, GateLimits())

    assert (again.unchanged, again.report["base"]["cached"]) == (False, False)
    assert starts(config) == ["v1", "tiny", "v1", "tiny"]


@pytest.mark.parametrize(
    "plan", ['{"argv": ["--max-num-seqs", "8"]}', '{"env": {"VLLM_CPU_OMP_THREADS_BIND": "0"}}']
)
def test_another_plan_measures_both_again(config: GateConfig, make_artifact: Make, plan: str) -> None:
    artifact = make_artifact()
    gate_artifact(artifact, None, config, GateLimits())
    written(config, plan)

    again = gate_artifact(artifact, None, config, GateLimits())

    assert (again.unchanged, again.report["base"]["cached"]) == (False, False)
    assert starts(config) == ["v1", "tiny", "v1", "tiny"]


@pytest.mark.parametrize(
    "plan",
    [
        '{"argv": ["--kv-cache-memory-bytes", "123"]}',  # whatever memory is free just then
        '{"env": {"LD_PRELOAD": "/elsewhere/lib/b.so"}}',
        "",  # none can be made while something else takes the memory
    ],
)
def test_a_verdict_holds_while_the_plan_decides_the_same(
    config: GateConfig, make_artifact: Make, plan: str
) -> None:
    artifact = make_artifact()
    written(config, '{"env": {"LD_PRELOAD": "/lib/b.so"}}' if "LD_PRELOAD" in plan else "{}")
    gate_artifact(artifact, None, config, GateLimits())
    written(config, plan)

    assert gate_artifact(artifact, None, config, GateLimits()).unchanged


def test_force_measures_both_again(config: GateConfig, make_artifact: Make) -> None:
    artifact = make_artifact()
    gate_artifact(artifact, None, config, GateLimits())

    gate_artifact(artifact, None, config, GateLimits(), force=True)

    assert starts(config) == ["v1", "tiny", "v1", "tiny"]


def test_a_damaged_artifact_is_a_regression(config: GateConfig, make_artifact: Make) -> None:
    outcome = gate_artifact(make_artifact(shift=3), None, config, GateLimits())

    assert outcome.verdict is GateVerdict.REGRESSION
    # the actual token is fourth: 0.48 * 0.52^3 = 0.0674922 against 0.5
    assert outcome.report["figures"]["perplexity_ratio"]["value"] == pytest.approx(7.40826, rel=1e-4)
    assert outcome.report["figures"]["top1_agreement"]["value"] == 0.0


def test_answers_that_do_not_end_are_a_regression(config: GateConfig, make_artifact: Make) -> None:
    outcome = gate_artifact(make_artifact(finish_reason="length"), None, config, GateLimits())

    assert outcome.verdict is GateVerdict.REGRESSION
    assert outcome.report["reasons"][0].startswith("chat answers: 8 newly bad")


def test_another_chat_template_is_a_regression(config: GateConfig, make_artifact: Make) -> None:
    outcome = gate_artifact(make_artifact(prompt_ids=[1, 2]), None, config, GateLimits())

    assert outcome.verdict is GateVerdict.REGRESSION
    assert outcome.report["reasons"] == ["chat prompts as tokens: different, needed same"]


def test_a_lost_special_token_is_a_regression(config: GateConfig, base: Path, make_artifact: Make) -> None:
    (base / "tokenizer_config.json").write_text('{"eos_token": "<|end|>"}', encoding="utf-8")

    outcome = gate_artifact(make_artifact(), None, config, GateLimits())

    assert outcome.verdict is GateVerdict.REGRESSION
    assert outcome.report["reasons"] == [
        "chat template and special tokens: eos_token (<|end|> became None), needed same"
    ]


def test_a_tool_call_that_no_longer_parses_is_a_regression(
    config: GateConfig, base: Path, make_artifact: Make
) -> None:
    call = '{"name": "get_weather", "arguments": {"city": "Busan"}}'
    (base / "fake.json").write_text(json.dumps({"decay": 0.5, "call": call}), encoding="utf-8")

    broken = gate_artifact(make_artifact(call='{"name": "get_weather", "argum'), None, config, GateLimits())

    assert broken.verdict is GateVerdict.REGRESSION
    assert broken.report["reasons"] == ["tool calls: 3 newly broken, needed ≤ 1"]


def test_only_languages_the_model_reads_are_judged(config: GateConfig, make_artifact: Make) -> None:
    report = gate_artifact(make_artifact(), None, config, GateLimits()).report

    assert {name: value["judged"] for name, value in report["languages"].items()} == {"en": True, "ko": False}
    assert report["languages"]["en"]["tokens"] == report["figures"]["tokens"]
    judged = {check["name"]: check["passed"] for check in report["checks"] if "ko" in check["name"]}
    assert judged == {
        "perplexity, ko, not this model's": None,
        "top-1 agreement, ko, not this model's": None,
    }


def test_both_engines_take_turns_at_the_speed(config: GateConfig, make_artifact: Make) -> None:
    report = gate_artifact(make_artifact(slow_s=0.02), None, config, GateLimits()).report

    assert [len(report[role]["rounds"]) for role in ("base", "candidate")] == [2, 2]
    # eight tokens at 20 ms each: at most 50 tokens per second for one request, four times that for four
    speeds = report["candidate"]["output_tokens_per_s"]
    assert 25 < speeds["1"] <= 50
    assert 100 < speeds["4"] <= 200
    assert report["speed"]["sentence"].startswith(
        "The artifact is slower than the base at a concurrency of 1 ("
    )


def test_engines_that_do_not_fit_together_take_turns(
    config: GateConfig, base: Path, make_artifact: Make
) -> None:
    (base / "fake.json").write_text(json.dumps({"decay": 0.5, "alone": True}), encoding="utf-8")

    outcome = gate_artifact(make_artifact(), None, config, GateLimits())

    assert outcome.verdict is GateVerdict.ACCEPT
    assert starts(config) == ["v1", "tiny", "tiny", "v1"]
    assert outcome.report["environment"]["arrangement"] == "the base failed beside the candidate"
    assert [len(outcome.report[role]["rounds"]) for role in ("base", "candidate")] == [2, 2]


@pytest.mark.parametrize("reads", [0, 1])
def test_taking_turns_both_are_measured_on_the_tokens_of_the_base(
    config: GateConfig, make_artifact: Make, monkeypatch: pytest.MonkeyPatch, reads: int
) -> None:
    monkeypatch.setattr("quantserve.quantize.gate.measure.pairing.available_bytes", lambda: 0)

    report = gate_artifact(make_artifact(reads=reads), None, config, GateLimits()).report

    assert starts(config) == ["v1", "tiny", "v1"]
    assert report["environment"]["arrangement"].endswith(" 0 B free: the two take turns")
    assert [len(report[role]["rounds"]) for role in ("base", "candidate")] == [2, 2]
    assert report["figures"]["perplexity_ratio"]["value"] == pytest.approx(1.0416667)
    assert report["figures"]["top1_agreement"]["value"] == 1.0


def test_the_page_and_the_card_stand_beside_the_report(config: GateConfig, make_artifact: Make) -> None:
    artifact = make_artifact()

    gate_artifact(artifact, None, config, GateLimits())

    page = (artifact / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 3
    assert not re.search(r"(src|href)=.http|url\(.?http|@import", page)
    card = (artifact / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\n")
    assert "verdict: ACCEPT" in card
    assert "top1_agreement: 1.0" in card
    check_files(artifact, read_manifest(artifact), full=True)


def test_tasks_run_on_both_engines(tmp_path: Path, config: GateConfig, make_artifact: Make) -> None:
    harness = tmp_path / "harness"
    fake = Path(__file__).with_name("fake_harness.py")
    harness.write_text(f'#!/bin/sh\nexec {sys.executable} {fake} "$@"\n', encoding="utf-8")
    harness.chmod(0o755)
    artifact, config = make_artifact(), replace(config, eval_python=harness)

    outcome = gate_artifact(
        artifact, None, config, GateLimits(min_task_recovery=0.96), tasks=TaskPlan(("mine",), None, 3)
    )

    assert outcome.verdict is GateVerdict.REGRESSION
    assert outcome.report["reasons"] == ["task mine, acc,none: 50.0% recovered, needed ≥ 96%"]
    assert outcome.report["candidate"]["tasks"] == {"mine": {"acc,none": 0.4}}


def test_a_task_that_is_unknown_is_no_verdict(
    tmp_path: Path, config: GateConfig, make_artifact: Make
) -> None:
    harness = tmp_path / "harness"
    harness.write_text("#!/bin/sh\necho 'Tasks not found: nosuch' >&2\nexit 1\n", encoding="utf-8")
    harness.chmod(0o755)
    artifact = make_artifact()

    with pytest.raises(TasksFailed, match="Tasks not found: nosuch"):
        gate_artifact(
            artifact, None, replace(config, eval_python=harness), GateLimits(), tasks=TaskPlan(("nosuch",))
        )
    assert read_report(artifact) == {}
    starts(config)


def test_an_infeasible_artifact_has_a_page_too(config: GateConfig, make_artifact: Make) -> None:
    artifact = make_artifact(complaint="serving: no kernel for group size 48")

    gate_artifact(artifact, None, config, GateLimits())

    assert "no kernel for group size 48" in (artifact / "report.html").read_text(encoding="utf-8")
    assert "verdict: INFEASIBLE" in (artifact / "README.md").read_text(encoding="utf-8")


def test_the_card_of_an_imported_checkpoint_stays(config: GateConfig, make_artifact: Make) -> None:
    artifact = make_artifact()
    (artifact / "README.md").write_text("its own", encoding="utf-8")
    manifest = read_manifest(artifact)
    record = FileRecord(sha256=sha256_file(artifact / "README.md"), size_bytes=7)
    write_manifest(artifact, manifest.model_copy(update={"files": {**manifest.files, "README.md": record}}))

    gate_artifact(artifact, None, config, GateLimits())

    assert (artifact / "README.md").read_text(encoding="utf-8") == "its own"


def test_plain_weights_under_a_quantized_name_are_anomalous(config: GateConfig, make_artifact: Make) -> None:
    outcome = gate_artifact(make_artifact(log=[]), None, config, GateLimits())

    assert outcome.verdict is GateVerdict.ANOMALOUS
    assert outcome.report["reasons"] == [
        "quantized kernel: the engine's log says it reads plain weights, needed loaded"
    ]


def test_a_candidate_that_does_not_load_is_infeasible_and_tried_again(
    config: GateConfig, make_artifact: Make
) -> None:
    artifact = make_artifact(complaint="serving: the engine ended: ValueError: no kernel for group size 48")

    for _ in range(2):
        outcome = gate_artifact(artifact, None, config, GateLimits())

        assert outcome.verdict is GateVerdict.INFEASIBLE
        assert outcome.report["reasons"] == ["the engine ended: ValueError: no kernel for group size 48"]
        assert outcome.report["figures"] is None
    assert starts(config) == ["v1"] * 2  # once each time


def test_the_base_is_not_started_for_a_candidate_that_does_not_load(
    config: GateConfig, make_artifact: Make
) -> None:
    measured = gate_artifact(make_artifact(), None, config, GateLimits()).report
    (config.run_dir / "starts").unlink()
    shutil.rmtree(config.run_dir / "gate-cache")
    shutil.rmtree(config.run_dir.parent / "artifacts")

    report = gate_artifact(make_artifact(complaint="serving: no kernel"), None, config, GateLimits()).report

    assert (report["verdict"], report["reasons"]) == ("INFEASIBLE", ["no kernel"])
    assert starts(config) == ["v1"]
    assert report["base"].keys() == measured["base"].keys()
    assert (report["base"]["ready_s"], report["base"]["rounds"]) == (None, [])
    assert not (config.run_dir / "gate-cache").exists()


def test_a_candidate_that_dies_while_it_is_measured_is_infeasible(
    config: GateConfig, make_artifact: Make
) -> None:
    outcome = gate_artifact(make_artifact(die_after=2), None, config, GateLimits())

    assert outcome.verdict is GateVerdict.INFEASIBLE
    assert "did not answer /v1/completions" in outcome.report["reasons"][0]
    assert starts(config) == ["v1", "tiny", "v1"]  # beside the base, then alone
    assert len(list((config.run_dir / "gate-cache").glob("*.npz"))) == 1  # what the base showed is kept


def test_a_base_that_does_not_start_says_nothing_about_the_candidate(
    config: GateConfig, base: Path, make_artifact: Make
) -> None:
    complaint = {"complaint": "serving: not enough memory for the model"}
    (base / "fake.json").write_text(json.dumps(complaint), encoding="utf-8")
    artifact = make_artifact()

    with pytest.raises(GateError, match="could not be measured: not enough memory for the model"):
        gate_artifact(artifact, None, config, GateLimits())
    assert read_report(artifact) == {}


def test_a_base_that_lies_elsewhere_is_to_be_named(config: GateConfig, make_artifact: Make) -> None:
    with pytest.raises(InputError, match=r"the base of .* is not at .*Name it: --base DIRECTORY"):
        gate_artifact(make_artifact(), None, replace(config, models_dir=Path("elsewhere")), GateLimits())


def test_an_artifact_of_another_base_is_refused(config: GateConfig, base: Path, make_artifact: Make) -> None:
    artifact = make_artifact()
    (base / "config.json").write_text('{"other": 1}', encoding="utf-8")

    with pytest.raises(InputError, match="was made from tiny"):
        gate_artifact(artifact, None, config, GateLimits())


def test_a_broken_serving_environment_is_no_verdict(config: GateConfig, make_artifact: Make) -> None:
    artifact = make_artifact()
    broken = replace(config, serving_python=Path("/nowhere/python"))

    with pytest.raises(GateError, match="no serving environment at /nowhere/python"):
        gate_artifact(artifact, None, broken, GateLimits())
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
        gate_artifact(artifact, None, config, GateLimits())
    assert not (config.run_dir / "starts").exists()


def test_a_damaged_cache_entry_is_measured_again(config: GateConfig, make_artifact: Make) -> None:
    artifact = make_artifact()
    gate_artifact(artifact, None, config, GateLimits())
    (entry,) = (config.run_dir / "gate-cache").glob("*.npz")
    entry.write_bytes(b"PK")
    forget_the_measurement(config)

    gate_artifact(artifact, None, config, GateLimits(max_ppl_increase=0.2))

    assert starts(config) == ["v1", "tiny", "v1", "tiny"]


@pytest.mark.parametrize("text", ["", "{", '{"verdict": "MAYBE"}'])
def test_an_unreadable_report_is_replaced(config: GateConfig, make_artifact: Make, text: str) -> None:
    artifact = make_artifact()
    (artifact / "report.json").write_text(text, encoding="utf-8")

    gate_artifact(artifact, None, config, GateLimits())

    assert read_report(artifact)["verdict"] == "ACCEPT"


def test_the_command_says_that_a_report_still_holds(
    config: GateConfig,
    make_artifact: Make,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("QUANTSERVE_ENVIRONMENTS", str(config.serving_python.parents[2]))
    places = ("--models-dir", str(config.models_dir), "--run-dir", str(config.run_dir))
    words = ["gate", str(make_artifact()), *places]
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            app(words)
        assert ended.value.code == 0
        said = capsys.readouterr()
    assert json.loads(said.out.splitlines()[-1])["unchanged"] is True
    assert "unchanged: ACCEPT" in said.err
