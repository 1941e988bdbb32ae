"""What is set aside for a request is never less than its tokens, whatever the tokenizer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from quantserve.serving.guard.request.limits import TokenBounds
from quantserve.serving.guard.request.token_bounds import (
    TemplateCost,
    audio_tokens,
    measure_template,
    most_tokens,
    text_tokens,
)

BOUNDS = TokenBounds.model_validate(
    {"window": 1000, "reserved_answer": 100, "template_once": 20, "template_turn": 5, "template_tools": 30}
)
TEXT = st.text(max_size=60) | st.text("ﷺ㌀½ㄱ가각한ﬃ①Å\u0390\u1fa2👩\u200d👧\x00 a", max_size=30)


def byte_level() -> Tokenizer:
    vocabulary = {ch: k for k, ch in enumerate(pre_tokenizers.ByteLevel.alphabet())}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def byte_fallback() -> Tokenizer:
    vocabulary = {"<unk>": 0, **{f"<0x{k:02X}>": k + 1 for k in range(256)}}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.NFKC()
    return tokenizer


@pytest.mark.parametrize("make", [byte_level, byte_fallback])
def test_no_tokenizer_makes_more_tokens_of_a_text_than_its_bound(make: Any) -> None:
    tokenizer = make()

    @settings(max_examples=300, deadline=None)
    @given(TEXT)
    def holds(text: str) -> None:
        assert len(tokenizer.encode(text).ids) <= text_tokens(text, 10**9)

    holds()


@pytest.mark.parametrize(
    ("text", "tokens"), [("hello", 5), ("한국어", 9), ("", 0), ("x" * 5000, 1000), ("한" * 900, 1000)]
)
def test_bound_of_a_text_is_its_bytes_and_never_more_than_the_window(text: str, tokens: int) -> None:
    assert text_tokens(text, 1000) == tokens


@pytest.mark.parametrize(
    ("endpoint", "body", "answers", "tokens"),
    [
        ("completions", {"prompt": "hello"}, 1, 5 + 4 + 16),
        ("completions", {"prompt": "hello", "max_tokens": 7}, 1, 5 + 4 + 7),
        ("completions", {"prompt": "hello", "max_tokens": 900}, 1, 5 + 4 + 100),
        ("completions", {"prompt": [1] * 300, "max_tokens": 7}, 1, 307),
        ("completions", {"prompt": [[1] * 300, [2] * 30], "max_tokens": 7}, 1, 344),
        ("completions", {"prompt": ["ab", "c"], "max_tokens": 7}, 1, 2 + 4 + 1 + 4 + 14),
        ("completions", {"prompt": "hello", "max_tokens": 7}, 3, 5 + 4 + 21),
        ("completions", {"prompt": "x" * 9999, "max_tokens": 50}, 1, 1000),
        ("chat", {"messages": [{"role": "user", "content": "hello"}]}, 1, 20 + 5 + 6 + 4 + 9 + 5 + 100),
        ("messages", {"messages": [{"role": "user", "content": "h"}], "system": "s", "max_tokens": 3}, 1, 49),
        ("responses", {"input": "hello", "max_output_tokens": 3}, 1, 20 + 5 + 5 + 3),
        ("chat", {"messages": [{"role": "user", "content": [{"image_url": {"url": "data:"}}]}]}, 1, 1000),
        ("embeddings", {"input": "hello"}, 1, 9),
        ("embeddings", {"input": ["hello", "you"]}, 1, 16),
        ("embeddings", {"input": "x" * 9999, "truncate_prompt_tokens": 50}, 1, 50),
        ("classify", {"input": "hello"}, 1, 9),
        ("rerank", {"query": "abc", "documents": ["d", "ef"]}, 1, 2 * 7 + 5 + 6),
        ("score", {"text_1": "abc", "text_2": "d"}, 1, 12),
        ("rerank", {"query": "x" * 99, "documents": ["d"], "truncate_prompt_tokens": 10}, 1, 10 + 5),
    ],
)
def test_what_is_set_aside(endpoint: str, body: dict[str, Any], answers: int, tokens: int) -> None:
    assert most_tokens(endpoint, body, BOUNDS, answers) == tokens


CHAT = {"messages": [{"role": "user", "content": "hello"}]}
LONG = "x" * 500


@pytest.mark.parametrize(
    ("endpoint", "body", "ignored"),
    [
        ("completions", {"prompt": "hello", "max_tokens": 90}, {"max_completion_tokens": 1}),
        ("completions", {"prompt": "hello", "max_tokens": 90}, {"max_output_tokens": 1}),
        ("completions", {"prompt": LONG}, CHAT),
        ("completions", {"prompt": LONG}, {"input": "x"}),
        ("chat", CHAT, {"max_output_tokens": 1}),
        ("responses", {"input": LONG}, {"max_tokens": 1, "max_completion_tokens": 1}),
        ("responses", {"input": LONG}, CHAT),
        ("responses", {"input": LONG}, {"truncate_prompt_tokens": 1}),
        ("messages", {**CHAT, "max_tokens": 90}, {"max_completion_tokens": 1}),
        ("messages", {**CHAT, "max_tokens": 90}, {"truncate_prompt_tokens": 1}),
        ("messages", {**CHAT, "max_tokens": 90}, {"input": "x"}),
        ("embeddings", {"input": LONG}, CHAT),
        ("embeddings", {"input": LONG}, {"prompt": "x"}),
        ("classify", {"input": [LONG, "x"]}, {"prompt": "x"}),
        ("rerank", {"query": LONG, "documents": ["x"]}, {"queries": "x", "items": ["x"]}),
        ("score", {"text_1": LONG, "text_2": "x"}, {"query": "x", "documents": ["x"]}),
        ("score", {"data_1": LONG, "data_2": [LONG, "x"]}, {"queries": "x", "items": "x"}),
    ],
)
def test_fields_that_an_endpoint_does_not_read_make_nothing_cheaper(
    endpoint: str, body: dict[str, Any], ignored: dict[str, Any]
) -> None:
    assert most_tokens(endpoint, body | ignored, BOUNDS, 1) >= most_tokens(endpoint, body, BOUNDS, 1)
    assert most_tokens(endpoint, ignored | body, BOUNDS, 1) >= most_tokens(endpoint, body, BOUNDS, 1)


@pytest.mark.parametrize(
    ("endpoint", "body", "more"),
    [
        ("chat", CHAT, {"documents": [{"text": "x" * 30}]}),
        ("score", {"text_1": "a", "text_2": "b"}, {"instruction": "x" * 30}),
        ("rerank", {"query": "a", "documents": ["b"]}, {"chat_template_kwargs": {"instruction": "x" * 30}}),
    ],
)
def test_whatever_a_template_may_write_counts(
    endpoint: str, body: dict[str, Any], more: dict[str, Any]
) -> None:
    assert most_tokens(endpoint, body | more, BOUNDS, 1) >= most_tokens(endpoint, body, BOUNDS, 1) + 30


def test_a_file_of_sound_counts_a_window_for_each_half_minute() -> None:
    assert audio_tokens(30 * 2000 - 1, BOUNDS) == 1000
    assert audio_tokens(90 * 2000, BOUNDS) == 4000


CHATML = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}<|im_start|>system\nBe kind<|im_end|>\n"
    "{% endif %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if tools %}TOOLS{{ tools | tojson }}{% endif %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% endif %}"
)


def test_template_is_measured_by_rendering_it() -> None:
    cost = measure_template(CHATML)
    first = "<|im_start|>system\nBe kind<|im_end|>\n<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n"
    assert cost.once == len(first)
    # What a message adds is the mean of a user's and an assistant's.
    assert cost.turn == len("<|im_start|>assistant\nx<|im_end|>\n") - 2
    tool = {"name": "x", "description": "x", "parameters": {"type": "object", "properties": {}}}
    assert cost.tools > len(json.dumps(tool))


@pytest.mark.parametrize(
    "template",
    [
        *(
            "",
            "{{ raise_exception('no') }}",
            "{% for %}",
            "{{ a.b.c }}",
            "{{ 1 // (messages | length - 1) }}",
        ),
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ messages[0].content * 10 ** 17 }}",
        "{% for i in range(10 ** 12) %}{% endfor %}",
    ],
)
def test_template_that_cannot_be_measured_is_guessed_generously(template: str) -> None:
    assert measure_template(template) == TemplateCost()
    assert TemplateCost().once >= 256
