from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quantserve.core.errors import UsageError
from quantserve.core.http.origin import is_loopback
from quantserve.serving.command import Plan, make_plan
from quantserve.serving.guard.plan import (
    GuardInputs,
    plan_guard,
    require_keys,
    with_guard,
)
from quantserve.serving.guard.settings import Artifact, GuardError, GuardSettings, read_user_settings
from tests.unit.serving.machines import AMD, inputs


def planned(user: dict[str, Any] | None = None, keys: str | None = None, **changes: Any) -> Plan:
    plan = make_plan(inputs(AMD, **changes))
    settings, items = plan_guard(
        GuardInputs(
            plan=plan,
            artifact=Artifact(name="m", version="v1", sha256="ab"),
            user=user or {},
            user_file="guard.yaml",
            keys_file=keys,
            internal_key_sha256="0" * 64,
            audit_file="/run/audit.jsonl",
        )
    )
    return with_guard(plan, settings, items)


def settings_of(plan: Plan) -> GuardSettings:
    return GuardSettings.model_validate_json(plan.env()["QUANTSERVE_GUARD"])


def value(plan: Plan, name: str) -> tuple[str | None, str]:
    found = [(item.value, item.source) for item in plan.guard if item.name == name]
    assert len(found) == 1
    return found[0]


def test_limits_follow_from_the_plan_and_each_has_a_reason() -> None:
    plan = planned()
    limits = settings_of(plan).limits
    assert (limits.max_requests, limits.max_tokens, limits.max_prompt_chars) == (256, 8192, 131_072)
    assert all(item.reason and item.source for item in plan.guard)
    assert value(plan, "limits.max_tokens") == ("8192", "model")
    assert value(plan, "keys") == ("none", "user")


def test_engine_is_started_with_the_guard_and_a_queue_behind_the_guards() -> None:
    argv = planned().argv("python")
    assert argv[argv.index("--middleware") + 1] == "quantserve.serving.guard.middleware.Guard"
    assert argv[argv.index("--max-num-queued-reqs") + 1] == "320"
    assert argv.count("--max-num-queued-reqs") == 1


def test_users_own_middleware_does_not_replace_the_guard() -> None:
    argv = planned(options={"vllm_args": ("--middleware", "my.Layer")}).argv("python")
    assert [argv[i + 1] for i, word in enumerate(argv) if word == "--middleware"] == [
        "my.Layer",
        "quantserve.serving.guard.middleware.Guard",
    ]


def test_queue_follows_the_users_flags() -> None:
    assert settings_of(planned(options={"vllm_args": ("--max-num-seqs", "512")})).limits.max_requests == 1024
    plan = planned(options={"vllm_args": ("--max-num-queued-reqs", "10")})
    assert settings_of(plan).limits.max_requests == 10
    assert value(plan, "limits.max_requests") == ("10", "user")


def test_users_settings_win_and_are_named() -> None:
    plan = planned({"limits": {"max_tokens": 64}, "audit": {"prompts": True}, "metrics_port": 9100})
    settings = settings_of(plan)
    assert (settings.limits.max_tokens, settings.limits.max_requests) == (64, 256)
    assert (settings.audit.prompts, settings.audit.file) == (True, "/run/audit.jsonl")
    assert value(plan, "limits.max_tokens") == ("64", "user")


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("10.0.0.1", False),
        ("example.org", False),
    ],
)
def test_beyond_loopback_keys_are_required(host: str, local: bool) -> None:
    assert is_loopback(host) is local
    if local:
        require_keys(host, None, Path("run/keys.json"))
    else:
        with pytest.raises(UsageError, match="keys create"):
            require_keys(host, None, Path("run/keys.json"))
    require_keys(host, "keys.json", Path("run/keys.json"))


def test_metrics_are_open_on_loopback_only() -> None:
    assert settings_of(planned()).metrics_open
    assert not settings_of(planned(keys="k", options={"host": "0.0.0.0"})).metrics_open


def test_open_server_says_so() -> None:
    assert any("no keys" in warning for warning in planned().warnings)
    assert not any("no keys" in warning for warning in planned(keys="k").warnings)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("limits: {max_token: 3}", "Did you mean 'max_tokens'"),
        ("limits: {max_n: 0}", "max_n"),
        ("limit: {}", "Did you mean 'limits'"),
        ("a: [", "not YAML"),
        ("- 1", "the file"),
    ],
)
def test_wrong_settings_are_one_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "guard.yaml"
    path.write_text(text)
    with pytest.raises(GuardError) as caught:
        read_user_settings(path)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_hold_only_what_the_user_wrote(tmp_path: Path) -> None:
    path = tmp_path / "guard.yaml"
    path.write_text("limits: {max_n: 2}\nallowed_media_hosts: [img.example.org]\n")
    assert read_user_settings(path) == {
        "limits": {"max_n": 2},
        "allowed_media_hosts": ("img.example.org",),
    }
    path.write_text("")
    assert read_user_settings(path) == {}
