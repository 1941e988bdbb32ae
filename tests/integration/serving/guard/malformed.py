"""Hypothesis strategies for HTTP requests that no client should send, as bytes for a socket.

`raw_requests()` draws a good request damaged in one place. Some remain acceptable: what is harmless is for
the server to say.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy


@dataclass(frozen=True)
class Raw:
    """The bytes of a request."""

    data: bytes
    leaves: bool = False
    """The client closes its side after them: what it sent is not whole."""


CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
JSON_PATHS = (
    CHAT,
    COMPLETIONS,
    "/tokenize",
    "/detokenize",
    "/v1/embeddings",
    "/rerank",
    "/score",
    "/classify",
)
GOOD: dict[str, dict[str, Any]] = {
    CHAT: {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1},
    COMPLETIONS: {"model": "tiny", "prompt": "hi", "max_tokens": 1},
    "/tokenize": {"model": "tiny", "prompt": "hi"},
    "/detokenize": {"model": "tiny", "tokens": [5, 6]},
    "/v1/embeddings": {"model": "tiny", "input": "hi"},
    "/rerank": {"model": "tiny", "query": "hi", "documents": ["a", "b"]},
    "/score": {"model": "tiny", "text_1": "a", "text_2": "b"},
    "/classify": {"model": "tiny", "input": "hi"},
}
# Every field that vLLM 0.32 reads from a chat or a completion, and some it does not.
FIELDS = (
    *("messages", "prompt", "model", "max_tokens", "max_completion_tokens", "min_tokens", "n", "best_of"),
    *("temperature", "top_p", "top_k", "min_p", "seed", "stop", "stop_token_ids", "stream", "stream_options"),
    *("logprobs", "top_logprobs", "prompt_logprobs", "logit_bias", "bad_words", "allowed_token_ids", "echo"),
    *("presence_penalty", "frequency_penalty", "repetition_penalty", "length_penalty", "suffix", "user"),
    *("tools", "tool_choice", "response_format", "structured_outputs", "guided_json", "guided_regex"),
    *("chat_template", "chat_template_kwargs", "add_generation_prompt", "continue_final_message"),
    *("ignore_eos", "skip_special_tokens", "truncate_prompt_tokens", "priority", "request_id", "cache_salt"),
    *("kv_transfer_params", "prompt_embeds", "mm_processor_kwargs", "documents", "reasoning_effort"),
    *("return_token_ids", "return_tokens_as_token_ids", "include_reasoning", "parallel_tool_calls"),
    *("repetition_detection", "thinking_token_budget", "vllm_xargs", "logits_processors", "unknown_field"),
    *("input", "query", "tokens", "text_1", "text_2", "encoding_format", "dimensions", "top_n"),
)
NUMBERS = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "-0",
    "1e-400",
    "9" * 400,
    "-" + "9" * 30,
    "0x10",
    "01",
    "1.5",
)

SPECIAL: SearchStrategy[Any] = st.sampled_from(
    [
        *(
            [],
            {},
            "",
            " ",
            "\x00",
            "8",
            True,
            False,
            None,
            -1,
            0,
            2**31,
            2**63,
            -(2**63),
            2**64,
            10**40,
            1e308,
        ),
        *(
            [[]],
            [None],
            [{}],
            {"a": None},
            ["x"] * 50,
            [0] * 600,
            [10**9],
            [-1],
            [1.5],
            [[1], ["x"]],
            "가" * 300,
        ),
        *([{"role": "user"}], [{"content": "x"}], [{"role": "x", "content": [{"type": "image_url"}]}]),
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://10.0.0.1/"}}]}],
        [{"role": "assistant", "tool_calls": [{"function": {"arguments": 5}}]}],
        [{"role": "tool", "tool_call_id": 3, "content": {"a": 1}}],
        {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#/x"}}},
        {"type": "json_schema", "json_schema": None},
        {"type": "object", "properties": {"a": {"type": "nothing"}}},
        *({"regex": "("}, {"regex": "(a+)+$"}, {"grammar": "root ::="}, {"choice": []}, {"json": "{"}),
        [{"type": "function", "function": {"name": "f", "parameters": {"type": 3}}}],
        *({"50256": 1e9}, {"x": 1}, {"-1": 0}, {"1": "a"}, {"include_usage": "x"}),
    ]
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=20),
)
VALUES = st.one_of(
    SPECIAL,
    LEAVES,
    st.recursive(
        LEAVES,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)
        ),
        max_leaves=8,
    ),
)


def http(
    method: str, path: str, headers: list[tuple[str, str]], body: bytes, length: str | None = "right"
) -> Raw:
    """Spell a request; `length` None leaves Content-Length out."""
    if length is not None:
        headers = [*headers, ("Content-Length", str(len(body)) if length == "right" else length)]
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers)]
    head = "\r\n".join([*lines, "Connection: close", "", ""])
    return Raw(head.encode("utf-8", "surrogateescape") + body)


JSON_TYPE = [("Content-Type", "application/json")]


def post(path: str, body: bytes) -> Raw:
    return http("POST", path, JSON_TYPE, body)


@st.composite
def wrong_fields(draw: st.DrawFn) -> Raw:
    """A good body with up to three fields replaced or added."""
    path = draw(st.sampled_from((CHAT, COMPLETIONS, *JSON_PATHS)))
    body = {**GOOD[path], **draw(st.dictionaries(st.sampled_from(FIELDS), VALUES, min_size=1, max_size=3))}
    return post(path, json.dumps(body).encode())


@st.composite
def wrong_numbers(draw: st.DrawFn) -> Raw:
    """A field with a number that JSON, or a machine word, does not have."""
    path = draw(st.sampled_from(JSON_PATHS))
    text = json.dumps(GOOD[path])[:-1]
    field, number = draw(st.sampled_from(FIELDS)), draw(st.sampled_from(NUMBERS))
    return post(path, f'{text}, "{field}": {draw(st.sampled_from([number, f"[{number}]"]))}}}'.encode())


@st.composite
def wrong_bytes(draw: st.DrawFn) -> Raw:
    """No JSON, cut JSON, JSON with bytes that are no UTF-8, or with half a surrogate pair."""
    path = draw(st.sampled_from(JSON_PATHS))
    good = json.dumps(GOOD[path]).encode()
    at = draw(st.integers(0, len(good) - 1))
    body = draw(
        st.one_of(
            st.binary(max_size=60),
            st.just(good[:at]),
            st.builds(lambda piece: good[:at] + piece + good[at:], st.binary(min_size=1, max_size=4)),
            st.sampled_from([b'"\\ud800"', b'{"prompt":"\\ud800","model":"tiny"}', b"\xef\xbb\xbf" + good]),
            st.sampled_from([b"null", b"[]", b"1", b'""', b"", b"{", good + good, good + b"\x00"]),
        )
    )
    return post(path, body)


@st.composite
def deep(draw: st.DrawFn) -> Raw:
    """Nested far beyond what a recursive parser takes, in a field or instead of the body."""
    levels = draw(st.sampled_from([33, 40, 199, 201, 1000, 20_000]))
    opened, closed = draw(st.sampled_from([(b"[", b"]"), (b'{"a":', b"}")]))
    tree = opened * levels + b"1" + closed * draw(st.sampled_from([levels, levels - 1, 0]))
    path = draw(st.sampled_from(JSON_PATHS))
    field = draw(st.sampled_from(FIELDS)).encode()
    text = json.dumps(GOOD[path]).encode()[:-1]
    return post(path, draw(st.sampled_from([tree, text + b',"%s":%s}' % (field, tree)])))


@st.composite
def odd_headers(draw: st.DrawFn) -> Raw:
    """Lengths that lie, types that are none, names and values of any kind."""
    path = draw(st.sampled_from(JSON_PATHS))
    body = json.dumps(GOOD[path]).encode()
    length = draw(st.sampled_from(["right", "-1", "abc", "1e3", "0", "3", "9" * 30, "+5", "0x10", " ", None]))
    kind = draw(st.sampled_from(["application/json", "text/plain", "", "application/json;;=", "x" * 3000]))
    odd = draw(
        st.lists(
            st.tuples(
                st.sampled_from(
                    [
                        "Authorization",
                        "X-Request-Id",
                        "Transfer-Encoding",
                        "Content-Encoding",
                        "Expect",
                        "Upgrade",
                    ]
                ),
                st.one_of(
                    st.sampled_from(
                        [
                            "Bearer",
                            "Bearer \xff",
                            "Basic eA==",
                            "gzip",
                            "100-continue",
                            "websocket",
                            "identity",
                        ]
                    ),
                    st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40),
                ),
            ),
            max_size=3,
        )
    )
    return http("POST", path, [("Content-Type", kind), *odd], body, length)


@st.composite
def chunked(draw: st.DrawFn) -> Raw:
    """Chunked bodies: whole, cut short, and with sizes that are none."""
    path = draw(st.sampled_from(JSON_PATHS))
    body = json.dumps(GOOD[path]).encode()
    size = draw(st.sampled_from([f"{len(body):x}", "zz", "-1", "f" * 20, "", f"{len(body):x};x=y", "5"]))
    end = draw(st.sampled_from(["\r\n0\r\n\r\n", "\r\n0\r\nX: y\r\n\r\n", "", "\r\n", "0\r\n\r\n"]))
    head = http("POST", path, [*JSON_TYPE, ("Transfer-Encoding", "chunked")], b"", length=None)
    data = head.data + f"{size}\r\n".encode() + body + end.encode()
    return Raw(data, leaves=end in ("", "\r\n"))


@st.composite
def cut(draw: st.DrawFn) -> Raw:
    """A request that ends anywhere, head or body."""
    path = draw(st.sampled_from(JSON_PATHS))
    whole = post(path, json.dumps(GOOD[path]).encode()).data
    return Raw(whole[: draw(st.integers(1, len(whole) - 1))], leaves=True)


@st.composite
def wrong_places(draw: st.DrawFn) -> Raw:
    """Methods and paths that are not offered."""
    method = draw(
        st.sampled_from(["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "XYZ"])
    )
    known = (*JSON_PATHS, "/health", "/metrics", "/v1/models", "/v1/audio/transcriptions")
    path = draw(
        st.one_of(
            st.sampled_from(known),
            st.builds(lambda word: "/" + word, st.text("abz/.%~0_?#&=\\", max_size=30)),
            st.sampled_from(
                ["*", "//v1/models", "/v1/../health", "/%2e%2e/x", "/" + "a" * 9000, "/docs", "/ping"]
            ),
            st.sampled_from(
                ["/v1/load_lora_adapter", "/collective_rpc", "/reset_prefix_cache", "/openapi.json"]
            ),
        )
    )
    return http(method, path, JSON_TYPE, b"{}")


@st.composite
def uploads(draw: st.DrawFn) -> Raw:
    """Multipart forms that are none, and files that are no sound."""
    body = draw(
        st.one_of(
            st.binary(max_size=200),
            st.sampled_from(
                [
                    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nX\r\n--x--\r\n',
                    b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\ntiny\r\n--x--\r\n',
                    b"--x\r\n\r\n\r\n--x--\r\n",
                    b"--x--",
                ]
            ),
        )
    )
    kind = draw(st.sampled_from(["multipart/form-data; boundary=x", "multipart/form-data", "audio/wav"]))
    path = draw(st.sampled_from(["/v1/audio/transcriptions", "/v1/audio/translations", CHAT]))
    return http("POST", path, [("Content-Type", kind)], body)


def raw_requests() -> SearchStrategy[Raw]:
    """One request; bodies with wrong fields come most often, since they reach farthest."""
    return st.one_of(
        *[wrong_fields()] * 6,
        wrong_numbers(),
        wrong_bytes(),
        deep(),
        odd_headers(),
        chunked(),
        cut(),
        wrong_places(),
        uploads(),
    )
