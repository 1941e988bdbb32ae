"""What the plan decides for the guard: limits at their word, options kept away, variables that must hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from quantserve.core.errors import UsageError
from quantserve.serving.command import Plan, make_plan, parse_flags
from quantserve.serving.guard.plan import GuardInputs, plan_guard, with_guard
from quantserve.serving.guard.settings import Artifact, GuardSettings
from quantserve.serving.planning.features import decides_on_tools, guided_by_ours
from quantserve.serving.planning.items import Item
from quantserve.serving.planning.options import known_options
from tests.unit.serving.machines import AMD, inputs


def guarded(user: dict[str, Any] | None = None, open_files: int | None = None, **changes: Any) -> Plan:
    plan = make_plan(inputs(AMD, **changes))
    settings, items = plan_guard(
        GuardInputs(
            plan=plan,
            artifact=Artifact(name="m", sha256=None),
            user=user or {},
            user_file="guard.yaml",
            keys_file=None,
            internal_key_sha256="0" * 64,
            audit_file=None,
            open_files=open_files,
        )
    )
    return with_guard(plan, settings, items)


def settings_of(plan: Plan) -> GuardSettings:
    return GuardSettings.model_validate_json(plan.env()["QUANTSERVE_GUARD"])


@pytest.mark.parametrize("wanted", [1, 8, 256, 5000])
@pytest.mark.parametrize("changes", [{}, {"max_sequences": 8}, {"max_sequences": 8, "data_parallel": 2}])
def test_limit_of_a_profile_is_taken_at_its_word(wanted: int, changes: dict[str, Any]) -> None:
    plan = guarded(wishes={"max_requests": wanted, **changes})
    assert settings_of(plan).limits.max_requests == wanted


def test_limit_leaves_room_for_the_connections_that_are_refused() -> None:
    assert settings_of(guarded(open_files=1024)).limits.max_requests == 256
    plan = guarded(open_files=328)
    assert settings_of(plan).limits.max_requests == 150
    (item,) = (item for item in plan.guard if item.name == "limits.max_requests")
    assert "328 open files allow no more" in item.reason


def test_metrics_port_listens_where_the_server_does() -> None:
    assert settings_of(guarded({"metrics_port": 9100})).metrics_host == "127.0.0.1"
    assert settings_of(guarded({"metrics_port": 9100, "metrics_host": "::1"})).metrics_host == "::1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VLLM_ENABLE_RESPONSES_API_STORE", "0"),
        ("VLLM_DEBUG_LOG_API_SERVER_RESPONSE", "0"),
        ("FORWARDED_ALLOW_IPS", ""),
        ("VLLM_API_KEY", ""),
        ("VLLM_ENFORCE_STRICT_TOOL_CALLING", "0"),
    ],
)
def test_what_the_guard_relies_on_holds_whatever_a_profile_says(name: str, value: str) -> None:
    assert guarded(wishes={"environment": {name: "1"}}).env()[name] == value


def test_one_backend_guides_answers_and_the_users_own_is_known() -> None:
    plan = guarded()
    (config,) = (item.value for item in plan.flags if item.name == "--structured-outputs-config")
    assert json.loads(config or "") == {
        "backend": "guidance",
        "disable_any_whitespace": True,
        "disable_additional_properties": True,
    }
    assert guided_by_ours(plan.flags)
    other = make_plan(
        inputs(AMD, options={"vllm_args": ("--structured-outputs-config", '{"backend":"xgrammar"}')})
    )
    assert not guided_by_ours(other.flags)
    assert not guided_by_ours([Item("--structured-outputs-config", "{", "user", "")])


def test_family_whose_parser_knows_no_demanded_calls_gets_ours() -> None:
    plan = guarded(wishes={"tool_parser": "mistral"})
    found = {item.name: item.value for item in plan.flags}
    assert found["--tool-call-parser"] == "quantserve_mistral"
    assert Path(found["--tool-parser-plugin"] or "").is_file()
    assert decides_on_tools(plan.flags)
    assert settings_of(plan).auto_tools


@pytest.mark.parametrize(
    "words",
    [
        ("--api-server-count", "4"),
        ("--api_server_count=4",),
        ("--headless",),
        ("--uds", "/tmp/socket"),
        ("--host", "0.0.0.0"),
        ("--port", "1"),
        ("--model", "other"),
        ("--served-model-name", "other"),
        ("--api-key", "k"),
        ("--config", "file.yaml"),
        ("--allowed-origins", '["*"]'),
        ("--no-allow-credentials",),
        ("--data-parallel-external-lb",),
        ("--no-data-parallel-hybrid-lb",),
        ("--data-parallel-rank", "1"),
        ("--tool-server", "demo"),
        ("--seed", "0", "-asc", "4"),
        ("-tp", "2"),
    ],
)
def test_option_that_would_be_ignored_or_undo_the_plan_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        make_plan(inputs(AMD, options={"vllm_args": words}))
    assert "\n" not in str(caught.value)
    assert "vLLM has no option" not in str(caught.value)


@pytest.mark.parametrize("name", ["api-server-count", "api_server_count", "uds", "config"])
def test_so_is_one_that_a_profile_passes_through(name: str) -> None:
    with pytest.raises(UsageError, match="is not passed on to vLLM"):
        make_plan(inputs(AMD, wishes={"vllm": {name: "1"}}))


def test_every_option_that_is_kept_away_is_one_of_vllms() -> None:
    from quantserve.serving.planning.options import _NOT_PASSED_ON

    assert set(_NOT_PASSED_ON) <= set(known_options())


def test_both_spellings_of_a_flag_are_one() -> None:
    words = ("--max_num_seqs", "3", "--speculative_config.num_speculative_tokens", "-1")
    assert parse_flags(words) == {"--max-num-seqs": "3", "--speculative-config.num_speculative_tokens": "-1"}
