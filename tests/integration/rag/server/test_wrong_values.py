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


def test_half_of_a_surrogate_pair_is_no_server_error(served: Served, answering: FakeServer) -> None:
    with served.http() as http:
        reply = http.post(
            "/v1/chat/completions",
            content=b'{"messages": [{"role": "user", "content": "Where are the spare bulbs kept? \\ud83d"}]}',
            headers={"content-type": "application/json"},
        )
    assert reply.status_code in (200, 400)


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
