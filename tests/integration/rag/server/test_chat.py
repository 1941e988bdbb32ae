"""Any OpenAI client is a client."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from quantserve.rag.embedding.backend import Embedder
from quantserve.rag.server.config import Bounds
from tests.fakes.openai_server import FakeServer
from tests.integration.rag.server.conftest import Served, serving, until

BULBS = "Where are the spare bulbs kept?"
LONG = (
    "The spare bulbs are kept in the cellar [1]. In fog the horn sounds twice a minute [1]. "
    "The keeper lights the lamp at sunset and writes the time into the log [2]."
)
ASK: Any = [{"role": "user", "content": BULBS}]


def extension(reply: Any) -> dict[str, Any]:
    found: dict[str, Any] = reply.model_extra["quantserve"]
    return found


def test_an_answer_carries_its_sources_and_the_models_usage(served: Served, answering: FakeServer) -> None:
    client = served.client()
    reply = client.chat.completions.create(model=client.models.list().data[0].id, messages=ASK)
    assert reply.choices[0].message.content == "They are kept in the cellar [1]."
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 7
    found = extension(reply)
    assert (found["mode"], found["model"], found["language"]) == ("generate", "Qwen-test", "en")
    first, *others = found["sources"]
    assert (first["number"], first["cited"], first["page"]) == (1, True, 2)
    assert first["file"] == "lighthouse.pdf"
    assert "Spare bulbs are kept in the cellar." in first["text"]
    assert others
    assert not any(source["cited"] for source in others)
    assert {"embed", "dense", "bm25", "retrieve", "generate", "ttft"} <= set(found["seconds"])
    assert str(served.folder) not in reply.model_dump_json()


def test_a_stream_shows_passages_first_text_as_it_comes_and_sources_last(
    served: Served, answering: FakeServer
) -> None:
    answering.change(answer=LONG)
    chunks = list(
        served.client().chat.completions.create(
            model="quantserve-rag", messages=ASK, stream=True, stream_options={"include_usage": True}
        )
    )
    assert extension(chunks[0])["passages"][0]["page"] == 2
    text = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(text) == LONG
    assert sum(bool(piece) for piece in text) >= 3  # a sentence at a time
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert extension(chunks[-2])["sources"][0]["cited"] is True
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == len(LONG.split())
    assert len({chunk.id for chunk in chunks}) == 1


def test_what_was_said_before_goes_to_the_model(served: Served, answering: FakeServer) -> None:
    before: Any = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello to you"}]
    served.client().chat.completions.create(model="quantserve-rag", messages=[*before, *ASK])
    sent = answering.chats[-1].body["messages"]
    assert [message["content"] for message in sent[1:3]] == ["Hello", "Hello to you"]


def test_a_client_system_message_replaces_the_rules_only_when_told_to(
    served: Served, answering: FakeServer
) -> None:
    messages: Any = [{"role": "system", "content": "Speak like a pirate"}, *ASK]
    client = served.client()
    reply = client.chat.completions.create(model="quantserve-rag", messages=messages, seed=1)
    assert "pirate" not in str(answering.chats[-1].body)
    assert len(extension(reply)["notes"]) == 2
    options = {"quantserve": {"use_system": True}}
    client.chat.completions.create(model="quantserve-rag", messages=messages, extra_body=options)
    assert answering.chats[-1].body["messages"][0]["content"] == "Speak like a pirate"


def test_one_question_may_choose_how_it_is_answered(served: Served, answering: FakeServer) -> None:
    options = {"quantserve": {"mode": "extract", "retrieve": "bm25", "top_k": 1}}
    reply = served.client().chat.completions.create(model="quantserve-rag", messages=ASK, extra_body=options)
    found = extension(reply)
    assert (found["mode"], len(found["sources"])) == ("extract", 1)
    assert found["sources"][0]["similarity"] is None
    assert "Spare bulbs are kept in the cellar. [1]" in str(reply.choices[0].message.content)
    assert reply.usage is not None
    assert reply.usage.total_tokens == 0
    assert answering.chats == []


def test_tokens_and_temperature_reach_the_model(served: Served, answering: FakeServer) -> None:
    served.client().chat.completions.create(
        model="quantserve-rag", messages=ASK, max_completion_tokens=3, temperature=0.5
    )
    body = answering.chats[-1].body
    assert (body["max_tokens"], body["temperature"]) == (3, 0.5)


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({}, 400, "invalid_value", "messages"),
        ({"messages": []}, 400, "invalid_value", "messages"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, 400, "invalid_value", "messages"),
        ({"messages": [{"role": "user", "content": " "}]}, 400, "invalid_value", "messages"),
        ({"messages": [{"role": "user", "content": "a" * 4001}]}, 400, "limit_exceeded", "messages"),
        ({"messages": [{"role": "user", "content": "a"}] * 65}, 400, "limit_exceeded", "messages"),
        ({"messages": ASK, "model": "gpt-5"}, 404, "model_not_found", "model"),
        ({"messages": ASK, "n": 2}, 400, "invalid_value", "n"),
        ({"messages": ASK, "tools": [{"type": "function"}]}, 400, "invalid_value", "tools"),
        ({"messages": ASK, "temprature": 1}, 400, "invalid_value", "temprature"),
        ({"messages": ASK, "quantserve": {"top_k": 21}}, 400, "limit_exceeded", "quantserve.top_k"),
    ],
)
def test_a_wrong_request_names_its_field(
    served: Served, body: dict[str, Any], status: int, code: str, param: str
) -> None:
    with served.http() as http:
        reply = http.post("/v1/chat/completions", json=body)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (status, code, param)
    assert error["message"]
    assert error["type"]


def test_a_stream_that_a_guard_stops_is_withdrawn_and_says_so(
    small_index: Path, tmp_path: Path, embedder: Embedder, answering: FakeServer
) -> None:
    guard = tmp_path / "guard.toml"
    guard.write_text(
        """
        window_characters = 20
        messages = { en = "Not here." }
        [[output]]
        kind = "rules"
        deny = ["log"]
        patterns = { log = "(?i)into the log" }
        """
    )
    answering.change(answer=LONG)
    (tmp_path / "index").symlink_to(small_index / "index")
    with serving(tmp_path, embedder, answering.base_url, guard_file=guard) as guarded:
        stream = guarded.client().chat.completions.create(model="quantserve-rag", messages=ASK, stream=True)
        chunks = list(stream)
        whole = guarded.client().chat.completions.create(model="quantserve-rag", messages=ASK)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text.startswith("The spare bulbs")
    assert "into the log" not in text
    assert text.endswith("(The text above is withdrawn; only what follows is the answer.)\n\nNot here.")
    assert chunks[-1].choices[0].finish_reason == "content_filter"
    found = extension(chunks[-1])
    assert (found["withdrawn"], found["text"], found["guard"]) == (True, "Not here.", "output:rules")
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == (
        "Not here.",
        "content_filter",
    )


def test_a_client_that_leaves_a_stream_ends_the_generation(served: Served, answering: FakeServer) -> None:
    answering.change(answer="The spare bulbs are kept in the cellar [1]. " * 60, inter_token_s=0.05)
    options = {"quantserve": {"mode": "generate"}}
    stream = served.client().chat.completions.create(
        model="quantserve-rag", messages=ASK, stream=True, extra_body=options
    )
    for _, _chunk in zip(range(3), stream, strict=False):
        pass
    stream.close()
    until(lambda: answering.cancelled == 1)


def test_a_client_that_leaves_before_the_first_word_ends_the_generation(
    served: Served, answering: FakeServer
) -> None:
    answering.change(ttft_s=3600.0)
    stream = served.client().chat.completions.create(model="quantserve-rag", messages=ASK, stream=True)
    assert extension(next(iter(stream)))["passages"]
    until(lambda: len(answering.chats) == 1)
    stream.close()
    until(lambda: answering.cancelled == 1)


def test_a_client_that_gives_up_waiting_ends_the_generation(served: Served, answering: FakeServer) -> None:
    answering.change(answer="word " * 400, inter_token_s=0.05)
    with pytest.raises(openai.APITimeoutError):
        served.client().with_options(timeout=1).chat.completions.create(model="quantserve-rag", messages=ASK)
    until(lambda: answering.cancelled == 1)


def test_a_dead_model_server_gives_the_passages_and_a_clear_error(
    small_index: Path, tmp_path: Path, embedder: Embedder
) -> None:
    with FakeServer() as gone:
        base_url = gone.base_url
    (tmp_path / "index").symlink_to(small_index / "index")
    with serving(tmp_path, embedder, base_url) as alone:
        with pytest.raises(openai.InternalServerError) as at_once:
            alone.client().chat.completions.create(model="quantserve-rag", messages=ASK)
        assert at_once.value.status_code == 503
        assert at_once.value.code == "model_unavailable"
        assert "nothing answers at" in at_once.value.message
        assert int(at_once.value.response.headers["retry-after"]) > 0
        sources = at_once.value.response.json()["quantserve"]["sources"]
        assert sources[0]["page"] == 2
        with pytest.raises(openai.APIError, match="nothing answers at"):
            list(alone.client().chat.completions.create(model="quantserve-rag", messages=ASK, stream=True))
        quoted = alone.client().chat.completions.create(
            model="quantserve-rag", messages=ASK, extra_body={"quantserve": {"mode": "extract"}}
        )
        assert "cellar" in str(quoted.choices[0].message.content)


def test_a_cut_stream_is_an_error_event_after_the_text(served: Served, answering: FakeServer) -> None:
    answering.change(answer=LONG, cut_after_tokens=16)
    stream = served.client().chat.completions.create(model="quantserve-rag", messages=ASK, stream=True)
    pieces: list[str] = []
    with pytest.raises(openai.APIError) as cut:
        pieces.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    # What could not be checked yet when the stream broke is held back.
    assert len("".join(pieces).split()) > 5
    assert LONG.startswith("".join(pieces))
    assert "broke off" in cut.value.message


def test_two_hundred_questions_at_once_are_all_answered(served: Served, answering: FakeServer) -> None:
    async def ask_all() -> list[str]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=served.url, timeout=120, limits=limits) as http:
            body = {"messages": ASK}
            replies = [http.post("/v1/chat/completions", json=body) for _ in range(200)]
            answered = await asyncio.gather(*replies)
            return [reply.text for reply in answered if reply.status_code != httpx.codes.OK]

    assert asyncio.run(ask_all()) == []
    assert served.service.room.taken == 0


def test_more_than_fits_is_told_to_come_again(
    small_index: Path, tmp_path: Path, embedder: Embedder, answering: FakeServer
) -> None:
    (tmp_path / "index").symlink_to(small_index / "index")
    answering.change(answer="word " * 400, inter_token_s=0.05)
    with serving(tmp_path, embedder, answering.base_url, Bounds(max_requests=1)) as narrow:
        stream = narrow.client().chat.completions.create(model="quantserve-rag", messages=ASK, stream=True)
        next(iter(stream))
        with pytest.raises(openai.RateLimitError) as full:
            narrow.client().chat.completions.create(model="quantserve-rag", messages=ASK)
        assert int(full.value.response.headers["retry-after"]) > 0
        stream.close()
        until(lambda: narrow.service.room.taken == 0)
