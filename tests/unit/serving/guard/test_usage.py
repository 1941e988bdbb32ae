from __future__ import annotations

import json

from serving.guard.usage import Usage, ask_for_usage, find_usage, without_usage_event

EVENT = b'data: {"id":"1","choices":[{"delta":{"content":"hi"}}]}\n\n'
LAST = (
    b'data: {"id":"1","choices":[],"usage":{"prompt_tokens":7,"total_tokens":9,"completion_tokens":2,'
    b'"prompt_tokens_details":{"cached_tokens":3}}}\n\n'
)


def test_usage_of_a_whole_answer() -> None:
    body = b'{"choices":[],"usage":{"prompt_tokens":7,"total_tokens":9,"completion_tokens":2},"x":{"y":1}}'
    assert find_usage(body) == Usage(7, 2)


def test_usage_of_an_embedding_and_of_a_response_object() -> None:
    assert find_usage(b'{"usage":{"prompt_tokens":5,"total_tokens":5}}') == Usage(5, 0)
    assert find_usage(b'{"usage":{"input_tokens":5,"output_tokens":6}}') == Usage(5, 6)


def test_answer_that_imitates_usage_is_not_believed() -> None:
    text = '"usage":{"prompt_tokens":0,"completion_tokens":0}'
    body = json.dumps({"text": text, "usage": {"prompt_tokens": 7}}, separators=(",", ":")).encode()
    assert find_usage(body) == Usage(7, 0)
    assert find_usage(json.dumps({"text": text}).encode()) is None


def test_no_usage() -> None:
    assert find_usage(b"") is None
    assert find_usage(b'{"usage":null}') is None
    assert find_usage(b'{"usage":{}}') is None


def test_asking_for_usage_leaves_the_rest_as_it_was() -> None:
    raw = '{"model": "m", "messages": [{"content": "} 안녕"}]} \n'.encode()
    assert json.loads(ask_for_usage(raw, None)) == {
        **json.loads(raw),
        "stream_options": {"include_usage": True},
    }


def test_asking_for_usage_keeps_the_clients_other_options() -> None:
    raw = b'{"stream_options":{"x":1,"continuous_usage_stats":true},"model":"m"}'
    assert json.loads(ask_for_usage(raw, json.loads(raw)["stream_options"])) == {
        "model": "m",
        "stream_options": {"x": 1, "include_usage": True, "continuous_usage_stats": False},
    }


def test_usage_event_is_taken_out_and_nothing_else() -> None:
    done = b"data: [DONE]\n\n"
    assert without_usage_event(LAST) == b""
    assert without_usage_event(EVENT + LAST + done) == EVENT + done
    assert without_usage_event(EVENT) is EVENT
    assert find_usage(LAST) == Usage(7, 2)
