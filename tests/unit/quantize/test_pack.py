from __future__ import annotations

from typing import Any

import pytest
from jinja2 import TemplateError

from quantserve.core.errors import InputError
from quantserve.quantize.calibration.documents import Document, Group
from quantserve.quantize.calibration.packing import PackedText, pack, quotas


class Characters:
    """A tokenizer with one token per character; its chat template writes `role:content;`."""

    eos_token_id = 0
    chat_template: str | None = "given"

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) for letter in text]}

    def apply_chat_template(self, messages: list[dict[str, str]], *, tokenize: bool) -> str:
        return "".join(f"{message['role']}:{message['content']};" for message in messages)


class NoSystem(Characters):
    """A tokenizer whose template refuses a system turn, as Gemma's does."""

    def apply_chat_template(self, messages: list[dict[str, str]], *, tokenize: bool) -> str:
        if messages[0]["role"] != "user":
            raise TemplateError("System role not supported")
        return super().apply_chat_template(messages, tokenize=tokenize)


def group(*documents: Document, source: str = "a", weight: float = 1.0) -> Group:
    return Group(source=source, weight=weight, documents=list(documents))


def packed(*groups: Group, tokenizer: Any = None, **overrides: int) -> PackedText:
    options = {"sequences": 4, "sequence_tokens": 3, "seed": 0, **overrides}
    return pack(
        tokenizer or Characters(),
        list(groups),
        sequences=options["sequences"],
        sequence_tokens=options["sequence_tokens"],
        seed=options["seed"],
    )


def spelled(one: PackedText) -> str:
    return "".join(map(chr, one.sequences[0]))


def test_documents_are_joined_with_the_end_token_and_cut() -> None:
    assert sorted(packed(group("abc", "de"), sequences=2).sequences) == [[0, 100, 101], [97, 98, 99]]


def test_chat_messages_go_through_the_chat_template() -> None:
    assert spelled(packed(group([{"role": "u", "content": "x"}]), sequences=1, sequence_tokens=4)) == "u:x;"


def test_a_template_without_system_turns_gets_it_in_the_first_turn() -> None:
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": "x"}]
    one = packed(group(chat), tokenizer=NoSystem(), sequences=1, sequence_tokens=10)
    assert spelled(one) == "user:s\n\nx;"


def test_a_chat_that_the_template_refuses_is_an_input_error() -> None:
    with pytest.raises(InputError, match="System role not supported"):
        packed(group([{"role": "assistant", "content": "x"}]), tokenizer=NoSystem())


def test_without_a_chat_template_chats_are_plain_text_and_it_says_so() -> None:
    tokenizer = Characters()
    tokenizer.chat_template = None
    one = packed(
        group([{"role": "user", "content": "x"}]), tokenizer=tokenizer, sequences=1, sequence_tokens=1
    )
    assert (spelled(one), one.templated) == ("x", False)
    assert packed(group("abcdef"), tokenizer=tokenizer, sequences=1).templated


def test_the_seed_alone_decides_which_sequences_are_taken() -> None:
    text = "".join(chr(i) for i in range(1, 301))
    assert packed(group(text), seed=3) == packed(group(text), seed=3)
    assert packed(group(text), seed=3).sequences != packed(group(text), seed=4).sequences


def test_too_little_text_is_refused_with_figures() -> None:
    with pytest.raises(InputError, match="has 4 tokens, enough for 1 of the 4 sequences of 3 tokens"):
        packed(group("abc"))


def test_sources_fill_their_shares_of_the_tokens() -> None:
    mixed = packed(
        group("a" * 300, source="english", weight=0.75),
        group("가" * 300, source="korean", weight=0.25),
        sequences=8,
        sequence_tokens=10,
    )
    assert mixed.sources == {"english": 60, "korean": 20}
    assert mixed.languages == {"en": 0.75, "ko": 0.25}


def test_what_a_short_source_cannot_give_the_others_give() -> None:
    mixed = packed(
        group("a" * 300, source="english", weight=0.5),
        group("가" * 19, source="korean", weight=0.5),
        sequences=8,
        sequence_tokens=10,
    )
    assert mixed.sources == {"english": 60, "korean": 20}


@pytest.mark.parametrize(
    ("weights", "available", "total", "expected"),
    [
        ([1.0], [10], 4, [4]),
        ([1.0], [3], 4, [3]),
        ([0.5, 0.5], [10, 10], 5, [3, 2]),
        ([0.9, 0.1], [10, 10], 10, [9, 1]),
        ([0.8, 0.1, 0.1], [2, 10, 10], 10, [2, 4, 4]),
        ([0.5, 0.5], [1, 1], 10, [1, 1]),
        ([1.0, 0.0], [1, 5], 4, [1, 0]),
    ],
)
def test_quotas_follow_the_weights_and_what_there_is(
    weights: list[float], available: list[int], total: int, expected: list[int]
) -> None:
    assert quotas(weights, available, total) == expected
