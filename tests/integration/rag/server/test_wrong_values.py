"""Choices and numbers that make no sense, over HTTP: a refusal that names the field, not a traceback."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.openai_server import FakeServer
from tests.integration.rag.server.conftest import Served

ASK: Any = [{"role": "user", "content": "Where are the spare bulbs kept?"}]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"retrieve": "hybird"}, "quantserve.retrieve"),
        ({"retrieve": None, "mode": "magic"}, "quantserve.mode"),
        ({"top_k": 0}, "quantserve.top_k"),
        ({"top_k": -1}, "quantserve.top_k"),
        ({"top_k": 10**12}, "quantserve.top_k"),
        ({"top_k": 2.5}, "quantserve.top_k"),
        ({"mmr": 0.5}, "quantserve.mmr"),
    ],
    ids=str,
)
def test_a_wrong_option_is_refused(served: Served, options: dict[str, Any], field: str) -> None:
    with served.http() as http:
        reply = http.post("/v1/chat/completions", json={"messages": ASK, "quantserve": options})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, field)
    assert "\n" not in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", b'{"messages": [{"role": "user", "content": "bulbs? \\ud83d"}]}', 200),
        (
            "/v1/chat/completions",
            b'{"model": "\\ud83d", "messages": [{"role": "user", "content": "?"}]}',
            404,
        ),
        ("/v1/chat/completions", b'{"\\ud83d": 1, "messages": [{"role": "user", "content": "?"}]}', 400),
        ("/search", b'{"query": "bulbs \\ud83d"}', 200),
        ("/search", b'{"query": "bulbs", "retrieve": "\\ud83d"}', 400),
    ],
)
def test_half_of_a_surrogate_pair_is_no_server_error(
    served: Served, answering: FakeServer, path: str, body: bytes, status: int
) -> None:
    with served.http() as http:
        reply = http.post(path, content=body, headers={"content-type": "application/json"})
    assert reply.status_code == status
    assert reply.json()


@pytest.mark.parametrize(
    "body", [b"[" * 50_000, b'{"query": "\xff"}', b"\x1f\x8b\x08", b'{"top_k": ' + b"9" * 5000 + b"}"]
)
def test_a_body_that_is_no_json_says_so(served: Served, body: bytes) -> None:
    with served.http() as http:
        reply = http.post("/search", content=body, headers={"content-type": "application/json"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_json")


def test_a_greeting_is_answered_without_passages(served: Served, answering: FakeServer) -> None:
    reply = served.client().chat.completions.create(
        model="quantserve-rag", messages=[{"role": "user", "content": "안녕하세요"}]
    )
    extension = (reply.model_extra or {})["quantserve"]
    assert (extension["mode"], extension["sources"], reply.choices[0].finish_reason) == (
        "chitchat",
        [],
        "stop",
    )
    assert answering.chats == []
