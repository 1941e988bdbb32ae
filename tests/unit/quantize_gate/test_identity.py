from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from quantserve.quantize.gate.identity import differences, read_identity


def directory(path: Path, **files: Any) -> Path:
    path.mkdir(exist_ok=True)
    for name, value in files.items():
        (path / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
    return path


BASE: dict[str, Any] = {
    "tokenizer_config": {"eos_token": {"content": "<|end|>"}, "chat_template": "{{ m }}"},
    "tokenizer": {"added_tokens": [{"id": 7, "content": "<|end|>", "special": True}]},
    "config": {"eos_token_id": 7},
}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return directory(tmp_path / "base", **BASE)


def test_the_same_in_another_form_is_no_difference(tmp_path: Path, base: Path) -> None:
    other = directory(
        tmp_path / "other",
        tokenizer_config={"pad_token": "<pad>"},
        special_tokens_map={"eos_token": "<|end|>"},
        tokenizer={
            "added_tokens": [*BASE["tokenizer"]["added_tokens"], {"id": 8, "content": "<pad>"}],
        },
        generation_config={"eos_token_id": [7]},
        config={"eos_token_id": 9},
    )
    (other / "chat_template.jinja").write_text("{{ m }}\n", encoding="utf-8")

    assert differences(read_identity(base), read_identity(other)) == ()


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"tokenizer_config": {"eos_token": "<|end|>"}}, "the chat template"),
        (
            {"tokenizer_config": {"eos_token": "</s>", "chat_template": "{{ m }}"}},
            "eos_token (<|end|> became </s>)",
        ),
        ({"tokenizer": {"added_tokens": []}}, "special token <|end|> lost"),
        (
            {"tokenizer": {"added_tokens": [{"id": 7, "content": "<|end|>", "special": False}]}},
            "special token <|end|> changed",
        ),
        ({"config": {"eos_token_id": [7, 8]}}, "tokens that end an answer ([7] became [7, 8])"),
    ],
)
def test_what_saving_lost_or_replaced_is_found(
    tmp_path: Path, base: Path, changed: dict[str, Any], difference: str
) -> None:
    other = directory(tmp_path / "other", **{**BASE, **changed})

    assert differences(read_identity(base), read_identity(other)) == (difference,)
