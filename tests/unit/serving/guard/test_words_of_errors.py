"""The engine's errors in our words, and the fields of a form."""

from __future__ import annotations

import json

import pytest

from quantserve.core.http.refusal import Refusal
from quantserve.serving.guard.exchange import RequestContext, translate, without_flags
from quantserve.serving.guard.request.bodies import boundary_of, read_fields

CONTEXT = RequestContext(window=8192)


def error(message: str, param: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, "type": "BadRequestError", "param": param}}).encode()


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (
            'tool_choice="required" requires --tool-call-parser to be set',
            "tool_parser in the server's profile",
        ),
        (
            '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
            '"auto" tool choice requires tool_parser in the server\'s profile to be set',
        ),
        ("You must set `--enable-mm-embeds` to input `image_embeds`", "an option of the server"),
        (
            "Please set --reasoning-parser and/or --reasoning-config to use it",
            "Please set an option of the server to use it",
        ),
    ],
)
def test_flags_of_vllm_reach_no_client(theirs: str, ours: str) -> None:
    refusal = translate(400, error(theirs), CONTEXT)
    assert ours in str(refusal)
    assert "--" not in str(refusal)


def test_prompt_that_fills_the_window_is_told_so() -> None:
    theirs = error("max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)", "max_tokens")
    filled = translate(400, theirs, CONTEXT)
    assert (filled.code, filled.param) == ("context_length_exceeded", None)
    assert "the prompt fills the model's window of 8192 tokens" in str(filled)
    asked = translate(400, theirs, RequestContext(window=8192, asked_for_none=True))
    assert (asked.code, asked.param) == ("engine_refused", "max_tokens")


def test_answer_that_its_constraint_cannot_be_computed_for_is_its_askers_mistake() -> None:
    theirs = error("Internal server error")
    asked = translate(500, theirs, RequestContext(window=8192, constrained="response_format"))
    assert (asked.status, asked.code, asked.param) == (400, "invalid_value", "response_format")
    assert "response_format cannot be followed to the end" in str(asked)
    assert translate(500, theirs, CONTEXT).status == 500
    other = translate(500, error("out of memory"), RequestContext(window=8192, constrained="tools"))
    assert (other.status, other.code) == (500, "engine_error")


@pytest.mark.parametrize(
    ("status", "body", "reason", "message"),
    [
        (404, b'{"detail":"Not Found"}', "engine_refused", "Not Found"),
        (405, b'{"detail":"Method Not Allowed"}', "engine_refused", "Method Not Allowed"),
        (500, b"Internal Server Error", "engine_error", "internal server error"),
        (500, error("EngineCore failed"), "engine_error", "EngineCore failed"),
        (
            404,
            error("The model `x` does not exist.", "model"),
            "model_not_found",
            "The model `x` does not exist.",
        ),
        (400, b'{"type":"error","error":{"type":"x","message":"no"}}', "engine_refused", "no"),
        (400, b"\xff", "engine_refused", "bad request"),
        (400, b"[1]", "engine_refused", "bad request"),
    ],
)
def test_every_shape_of_error_becomes_openais(status: int, body: bytes, reason: str, message: str) -> None:
    refusal = translate(status, body, CONTEXT)
    assert (refusal.status, refusal.code, str(refusal)) == (status, reason, message)
    shaped = json.loads(refusal.body())["error"]
    assert shaped["type"] == ("server_error" if status == 500 else "invalid_request_error")


def test_long_message_is_cut_before_it_is_searched() -> None:
    assert len(without_flags("-" * 10_000_000)) == 4096


def part(name: str, value: str, more: str = "") -> str:
    return f'--xx\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'


FILE = part("file", "RIFF...", '; filename="a.wav"')


def test_fields_are_read_wherever_the_file_stands() -> None:
    for body in (part("model", "m") + FILE, FILE + part("model", "m")):
        assert read_fields(f"{body}--xx--\r\n".encode(), b"xx") == {"model": "m"}


@pytest.mark.parametrize(
    "body",
    [
        b'name="model"\r\n' * 40_000,
        b"--xx\r\n" + b"a: b\r\n" * 40_000,
        (part("a", "") * 65).encode(),
        (part("model", "m") + part("model", "n") + "--xx--").encode(),
        b"",
        b"no form",
    ],
)
def test_what_is_no_form_or_says_its_model_twice_is_refused(body: bytes) -> None:
    if body == b"":
        assert read_fields(body, b"xx") == {}
        return
    with pytest.raises(Refusal) as caught:
        read_fields(body, b"xx")
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (b"multipart/form-data", 400),
        (b"multipart/form-data; boundary=", 400),
        (b"text/plain; boundary=xx", 415),
        (b"", 415),
        (b"multipart/form-data;" + b' a="' * 20_000, 400),
    ],
)
def test_content_type_of_a_form_is_asked_for(kind: bytes, status: int) -> None:
    with pytest.raises(Refusal) as caught:
        boundary_of(kind)
    assert caught.value.status == status
