"""docs/guard.md says what the code says: settings with their defaults, paths, codes of refusals."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic import BaseModel

from quantserve.serving.guard.paths import ALLOWED, LORA_PATHS
from quantserve.serving.guard.request.limits import RequestLimits
from quantserve.serving.guard.settings import GuardSettings
from tests.programs import ROOT

PAGE = (ROOT / "docs/guard.md").read_text(encoding="utf-8")
FROM_THE_PLAN = {
    *("limits.max_requests", "limits.max_tokens", "limits.max_prompt_chars", "limits.max_prompt_tokens"),
    *("limits.max_body_bytes", "audit.file", "keys_file", "internal_key_sha256", "metrics_open"),
}


def rows(model: type[BaseModel], section: str = "") -> Iterator[str]:
    """The table's lines; a default of the plan is told as such."""
    for name, field in model.model_fields.items():
        default = field.default
        if isinstance(default, BaseModel):
            if name != "artifact":  # not the operator's to say
                yield from rows(type(default), f"{name}.")
            continue
        full = section + name
        shown = ", ".join(default) if isinstance(default, tuple) else default
        value = "plan" if full in FROM_THE_PLAN else "none" if shown in (None, "") else f"{shown}"
        yield f"| `{full}` | {value} | {field.description} |"


def test_every_setting_stands_in_the_table_with_its_default() -> None:
    table = PAGE.partition("<!-- settings -->")[2].partition("<!-- /settings -->")[0]
    assert table.split("|---|---|---|\n")[1].strip().splitlines() == list(rows(GuardSettings))
    assert "limits.max_requests" in table
    assert len(list(rows(RequestLimits))) > 15


def test_every_path_stands_in_the_table() -> None:
    section = PAGE.partition("## Paths")[2].partition("## Settings")[0]
    assert set(re.findall(r"`(/[^`]*)`", section)) == {*ALLOWED, *LORA_PATHS}


def test_every_code_of_a_refusal_is_explained() -> None:
    codes = {"queue_full"}
    for path in (*(ROOT / "serving/guard").rglob("*.py"), *(ROOT / "core/http").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        codes |= set(re.findall(r"Refusal\(\s*\d+,\s*\"([a-z_]+)\"", text))
        codes |= set(re.findall(r"_too_fast\(\"([a-z_]+)\"", text))
    codes.remove("too_many_connections")  # the guard bounds each connection, not their number
    assert len(codes) > 20
    assert codes <= set(re.findall(r"`([a-z_]+)`", PAGE.partition("## Answers")[2]))
