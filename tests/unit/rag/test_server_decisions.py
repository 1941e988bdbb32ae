"""Pure decisions of the server."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from quantserve.core.errors import UsageError
from quantserve.core.http.origin import is_loopback
from quantserve.rag.answer import Answer
from quantserve.rag.config import AnswerMode, RetrieveMode
from quantserve.rag.server.gate import Tickets
from quantserve.rag.server.run import require_keys
from quantserve.rag.server.views import (
    document_id,
    finish_reason,
    rest_of,
    shown_name,
    surroundings_of,
    usage_view,
)
from quantserve.rag.store.chunks import Chunk
from tests.programs import ROOT

TEXT = "abcdefghij klmnopqrst uvwxyz"


def chunk(start: int, end: int, page: int = 1) -> Chunk:
    return Chunk(f"{page}-{start}", "/a.pdf", "a.pdf", page, "", start, end, TEXT[start:end], "")


@pytest.mark.parametrize(
    ("streamed", "final", "rest"),
    [
        ("", "모르겠습니다.", "모르겠습니다."),
        ("It is blue. [1]", "It is blue. [1]", ""),
        (" It is blue.\n", "It is blue. [1]", " [1]"),
        ("It is blue. [1] [9]", "It is blue. [1]", ""),
        ("It [9] is blue [1, 9].", "It is blue [1].", ""),
        ("Es ist blau.", "하늘은 파랗다. [1]", "\n\n하늘은 파랗다. [1]"),
    ],
)
def test_a_stream_gets_what_it_lacks(streamed: str, final: str, rest: str) -> None:
    assert rest_of(streamed, Answer("q", final, "generate", "ko", ())) == rest


def test_a_withdrawn_beginning_is_called_that() -> None:
    answer = Answer("q", "I cannot say that.", "blocked", "en", (), withdrawn=True)
    assert rest_of("Their secret is", answer) == (
        "\n\n(The text above is withdrawn; only what follows is the answer.)\n\nI cannot say that."
    )
    assert rest_of("", answer) == "I cannot say that."
    assert finish_reason(answer) == "content_filter"
    assert finish_reason(replace(answer, mode="extract")) == "stop"


@pytest.mark.parametrize(
    ("mode", "prompt", "completion", "usage"),
    [
        ("generate", 10, 2, {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}),
        ("extract", None, None, {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}),
        ("generate", None, None, None),
    ],
)
def test_usage_is_the_models_or_unknown(
    mode: str, prompt: int | None, completion: int | None, usage: dict[str, int] | None
) -> None:
    answer = replace(Answer("q", "a", mode, "en", ()), prompt_tokens=prompt, completion_tokens=completion)
    assert usage_view(answer) == usage


@pytest.mark.parametrize(
    ("neighbours", "before", "after"),
    [
        ([], "", ""),
        ([chunk(0, 10), chunk(11, 21), chunk(22, 28)], "abcdefghij\n", "\nuvwxyz"),
        ([chunk(0, 14), chunk(11, 21), chunk(18, 28)], "abcdefghij ", " uvwxyz"),
        ([chunk(0, 10, page=2), chunk(11, 21), chunk(22, 28, page=3)], "", ""),
        ([chunk(0, 4), chunk(2, 11), chunk(20, 28)], "abcdefghij ", " uvwxyz"),
    ],
)
def test_a_passage_is_shown_in_its_page_without_repeating_overlaps(
    neighbours: list[Chunk], before: str, after: str
) -> None:
    found = surroundings_of(chunk(11, 21), neighbours)
    assert (found.before, found.after) == (before, after)


@pytest.mark.parametrize(
    ("key", "file", "name"),
    [
        ("/srv/up/a.md", "/srv/up/a.md", "a.md"),
        ("/home/x/docs/a.md", "docs/a.md", "docs/a.md"),
        ("/elsewhere/secret/a.md", "/elsewhere/secret/a.md", "a.md"),
        ("https://example.org/a", "https://example.org/a", "https://example.org/a"),
    ],
)
def test_a_documents_name_gives_no_folder_of_this_machine_away(key: str, file: str, name: str) -> None:
    assert shown_name(key, file, Path("/srv/up")) == name


def test_a_documents_id_says_nothing_and_stays() -> None:
    assert document_id("/a.md") == document_id("/a.md") != document_id("/b.md")
    assert "a.md" not in document_id("/a.md")


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("localhost", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("", False),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
    ],
)
def test_loopback_is_told_from_the_rest(host: str, local: bool) -> None:
    assert is_loopback(host) is local
    if not local:
        with pytest.raises(UsageError, match="without keys"):
            require_keys(host, None)
    require_keys(host, Path("keys.json"))


def test_a_ticket_ends() -> None:
    now = [1_000_000.0]
    tickets = Tickets(lambda: now[0])
    path, _, ticket = tickets.address("0123456789abcdef").partition("?ticket=")
    assert tickets.allows(path, ticket)
    assert not tickets.allows(path, ticket.replace("1000300", "1000301"))
    assert not Tickets(lambda: now[0]).allows(path, ticket)
    now[0] += 300
    assert not tickets.allows(path, ticket)


def test_the_pages_words_are_the_same_in_both_languages() -> None:
    text = (ROOT / "rag/server/static/i18n.js").read_text(encoding="utf-8")
    korean, english = re.findall(r"^  (?:ko|en): \{(.*?)^  \},", text, flags=re.MULTILINE | re.DOTALL)
    entry = re.compile(r'"?([\w-]+)"?: "((?:[^"\\]|\\.)*)"')
    ko, en = dict(entry.findall(korean)), dict(entry.findall(english))
    assert len(ko) > 90
    assert set(ko) == set(en)
    modes = {f"mode_{mode}" for mode in (*get_args(AnswerMode), "unknown", "blocked")}
    ways = {f"{what}_{mode}" for mode in get_args(RetrieveMode) for what in ("retrieve", "help")}
    assert modes | ways <= set(en)
    slots = re.compile(r"\{\w+\}")
    assert {name: set(slots.findall(text)) for name, text in ko.items()} == {
        name: set(slots.findall(text)) for name, text in en.items()
    }
