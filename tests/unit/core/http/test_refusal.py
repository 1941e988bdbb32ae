"""A refusal is OpenAI's error object, whoever makes it and whatever stands in it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantserve.core.http.refusal import Refusal

TEXT = st.text(st.characters(codec=None))
"""Halves of surrogate pairs among it, which JSON's escapes let a client write."""


def test_refusal_has_openais_shape() -> None:
    refusal = Refusal(429, "queue_full", "full", param="n", retry_after_s=3)
    assert json.loads(refusal.body()) == {
        "error": {"message": "full", "type": "rate_limit_error", "param": "n", "code": "queue_full"}
    }
    assert (b"retry-after", b"3") in refusal.headers()


def test_anthropics_shape_holds_the_same_error() -> None:
    shaped = json.loads(Refusal(400, "invalid_value", "no", param="n").body(anthropic=True))
    assert (shaped["type"], shaped["error"]["message"]) == ("error", "no")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "invalid_request_error"),
        (413, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (503, "server_error"),
        (507, "server_error"),
    ],
)
def test_type_follows_from_the_status(status: int, kind: str) -> None:
    assert json.loads(Refusal(status, "x", "y").body())["error"]["type"] == kind


@given(TEXT, TEXT, st.booleans())
def test_whatever_a_client_wrote_the_body_is_json_in_utf8(message: str, param: str, anthropic: bool) -> None:
    refusal = Refusal(400, "invalid_value", message, param=param, extension={"text": message})
    body = json.loads(refusal.body(anthropic=anthropic).decode("utf-8"))
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["quantserve"]["text"] == body["error"]["message"]


def test_half_a_surrogate_pair_is_shown_as_what_it_is_and_two_halves_as_one() -> None:
    error = json.loads(Refusal(400, "x", "a\ud83d", param="\ud83d\ude00").body())["error"]
    assert (error["message"], error["param"]) == ("a\ufffd", "\U0001f600")


@pytest.mark.parametrize(
    ("refusal", "headers"),
    [
        (Refusal(400, "x", "y"), []),
        (Refusal(401, "x", "y"), [(b"www-authenticate", b"Bearer")]),
        (Refusal(405, "x", "y", allow="GET, HEAD"), [(b"allow", b"GET, HEAD")]),
        (Refusal(413, "x", "y", close=True), [(b"connection", b"close")]),
        (Refusal(429, "x", "y", retry_after_s=7), [(b"retry-after", b"7")]),
    ],
)
def test_headers(refusal: Refusal, headers: list[tuple[bytes, bytes]]) -> None:
    assert refusal.headers() == [(b"content-type", b"application/json"), *headers]
