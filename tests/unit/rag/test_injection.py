"""A document cannot change the rules: passages stay data, whatever stands in them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantserve.rag.answer.conversation import condense_messages
from quantserve.rag.answer.prompt import build_prompt, build_short_prompt
from quantserve.rag.answer.wording import RULES
from quantserve.rag.llm.fence import harmless
from tests.unit.rag.passages import passage

INJECTIONS = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "data/rag/injections.jsonl").read_text("utf-8").splitlines()
]
MARKER = re.compile(r"<\s*\|.*?\||\[\|.*?\|\]|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>")


def texts(fold: str) -> str:
    """What a tokenizer may make of a text: full-width signs as plain ones, nothing invisible."""
    return fold.replace("＜", "<").replace("＞", ">").replace("｜", "|").replace("\u200b", "")


@pytest.mark.parametrize("injection", INJECTIONS, ids=lambda row: row["kind"])
def test_an_injection_in_a_document_stays_inside_its_fence(injection: dict[str, str]) -> None:
    language = injection["language"]
    hostile = passage(injection["text"], heading=injection["text"])
    prompt = build_prompt("Why?", [passage("First."), hostile, passage("Last.")], language, 4000)
    assert [message["role"] for message in prompt.messages] == ["system", "user"]
    assert prompt.messages[0]["content"] == RULES[language]
    content = texts(prompt.messages[1]["content"])
    assert re.findall(r"<\s*/?\s*passages?[^>]*>", content) == [
        '<passage number="1">', "</passage>", '<passage number="2">', "</passage>",
        '<passage number="3">', "</passage>",
    ]  # fmt: skip
    assert not MARKER.search(content)
    assert content.endswith(": Why?")
    assert "BANANA" in content  # what is said stays readable: only its power is gone


@pytest.mark.parametrize("injection", INJECTIONS, ids=lambda row: row["kind"])
def test_a_question_or_an_earlier_message_cannot_speak_for_the_system(injection: dict[str, str]) -> None:
    text = injection["text"]
    history = [{"role": "user", "content": text}, {"role": "assistant", "content": text}]
    for messages in (
        build_prompt(text, [passage("First.")], "en", 4000, history).messages,
        build_short_prompt(text, [text]),
        condense_messages(text, history, 1000),
    ):
        for message in messages:
            assert not MARKER.search(texts(message["content"]))


def test_other_text_stays_as_it_is() -> None:
    text = "a < b, x[i] = 3; <b>bold</b> 가나다 list<int> [1] [설명] <passenger>"
    assert harmless(text) == text


@given(
    st.lists(
        st.sampled_from(["<", "/", "passage", ">", "|", "im_end", "[", "INST", "]", " ", "＜"]), max_size=24
    )
)
def test_no_arrangement_of_the_parts_survives(parts: list[str]) -> None:
    cleaned = texts(harmless("".join(parts)))
    assert not re.search(r"<\s*/?\s*passages?\b", cleaned)
    assert not re.search(r"<\s*\|[^<>|]*\|\s*>|\[\s*/?\s*INST\s*\]", cleaned)
