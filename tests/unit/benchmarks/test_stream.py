from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantserve.benchmarks.load.stream import events, parse
from quantserve.benchmarks.records import Failure


def data(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def text(token: str, **fields: Any) -> bytes:
    return data({"choices": [{"index": 0, "text": token, "finish_reason": None}], **fields})


def delta(**fields: Any) -> bytes:
    return data({"choices": [{"index": 0, "delta": fields, "finish_reason": None}]})


USAGE = data({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
DONE = b"data: [DONE]\n\n"


def test_stamps_are_those_of_the_pieces() -> None:
    answer = parse([(1.0, text("a")), (2.0, text("b")), (3.0, USAGE + DONE)])
    assert answer.token_s == [1.0, 2.0]
    assert (answer.prompt_tokens, answer.completion_tokens) == (3, 2)
    assert answer.failure is None


def test_an_event_in_two_pieces_arrives_with_the_second() -> None:
    whole = text("a")
    answer = parse([(1.0, whole[:20]), (2.0, whole[20:] + USAGE + DONE)])
    assert answer.token_s == [2.0]


@given(cuts=st.lists(st.integers(0, 400), max_size=12), crlf=st.booleans())
def test_where_the_bytes_are_cut_does_not_matter(cuts: list[int], crlf: bool) -> None:
    whole = text("한") + b": a comment\n\n" + text("국") + USAGE + DONE
    if crlf:
        whole = whole.replace(b"\n", b"\r\n")
    edges = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    parts = [(float(n), whole[a:b]) for n, (a, b) in enumerate(itertools.pairwise(edges))]
    answer = parse(parts)
    assert "".join(answer.text) == "한국"
    assert answer.completion_tokens == 2
    assert answer.done


def test_several_data_lines_are_one_event() -> None:
    assert list(events([(1.0, b"event: x\ndata: a\ndata: b\n\n")])) == [(1.0, b"a\nb")]


def test_the_role_chunk_is_no_token() -> None:
    answer = parse([(1.0, delta(role="assistant", content="")), (2.0, delta(content="a") + USAGE + DONE)])
    assert answer.token_s == [2.0]


def test_a_token_without_a_whole_character_is_a_token() -> None:
    answer = parse([(1.0, delta(content="")), (2.0, delta(content="한") + USAGE + DONE)])
    assert answer.token_s == [1.0, 2.0]


def test_a_last_empty_chunk_beyond_the_count_is_no_token() -> None:
    end = data({"choices": [{"index": 0, "text": "", "finish_reason": "length"}]})
    answer = parse([(1.0, text("a")), (2.0, text("b")), (2.1, end + USAGE + DONE)])
    assert answer.token_s == [1.0, 2.0]


def test_a_last_empty_chunk_within_the_count_is_the_end_token() -> None:
    end = data({"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]})
    answer = parse([(1.0, text("a")), (2.0, end + USAGE + DONE)])
    assert answer.token_s == [1.0, 2.0]


def test_counts_on_each_chunk() -> None:
    first = text("ab", usage={"completion_tokens": 3})
    second = text("c", usage={"completion_tokens": 4})
    last = data({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 4}})
    assert parse([(1.0, first), (2.0, second + last + DONE)]).token_n == [3, 1]


def test_cached_tokens_are_read() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 8}}
    answer = parse([(1.0, text("a") + data({"choices": [], "usage": usage}) + DONE)])
    assert answer.cached_tokens == 8


@pytest.mark.parametrize(
    ("stream", "failure"),
    [
        (text("a") + USAGE, Failure.MALFORMED),
        (b"data: {broken\n\n" + DONE, Failure.MALFORMED),
        (b"data: [1, 2]\n\n" + DONE, Failure.MALFORMED),
        (text("a") + data({"error": {"message": "no"}}) + DONE, Failure.ERROR_EVENT),
        (USAGE + DONE, Failure.EMPTY),
    ],
)
def test_broken_streams_have_a_name(stream: bytes, failure: Failure) -> None:
    assert parse([(1.0, stream)]).failure == failure


@given(st.binary(max_size=300))
def test_no_bytes_raise(noise: bytes) -> None:
    assert parse([(1.0, noise)]).failure is not None
