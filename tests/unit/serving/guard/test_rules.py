from __future__ import annotations

import json
from typing import Any

import pytest

from quantserve.core.http.refusal import Refusal
from quantserve.serving.guard.admission import rules_of
from quantserve.serving.guard.paths import ALLOWED, PathTable
from quantserve.serving.guard.request.bodies import check_address, check_tree, parse
from quantserve.serving.guard.request.limits import RequestLimits
from quantserve.serving.guard.request.rules import RequestSummary
from quantserve.serving.guard.settings import GuardSettings

CHAT = ALLOWED["/v1/chat/completions"]["POST"].name
COMPLETION = ALLOWED["/v1/completions"]["POST"].name
EMBEDDING = ALLOWED["/v1/embeddings"]["POST"].name
LIMITS = {
    "max_tokens": 100,
    "max_n": 4,
    "max_messages": 3,
    "max_prompt_chars": 50,
    "max_prompt_tokens": 10,
    "max_inputs": 5,
    "max_stops": 2,
    "max_tools": 1,
    "max_schema_bytes": 200,
    "max_template_bytes": 60,
    "max_name_chars": 20,
    "max_list_items": 3,
    "max_depth": 8,
}
RULES = rules_of(GuardSettings.model_validate({"limits": LIMITS, "allowed_media_hosts": ["img.example.org"]}))
HELLO = [{"role": "user", "content": "hello"}]


def chat(**fields: Any) -> RequestSummary:
    return RULES.check(CHAT, {"model": "m", "messages": HELLO, **fields})


def completion(prompt: Any, **fields: Any) -> RequestSummary:
    return RULES.check(COMPLETION, {"model": "m", "prompt": prompt, **fields})


def refused(call: Any, *args: Any, **kwargs: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        call(*args, **kwargs)
    assert 400 <= caught.value.status < 500
    return caught.value


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"a": NaN}', "not JSON"),
        (b'{"a": -Infinity}', "not JSON"),
        (b'{"a": "\xff\xfe"}', "not JSON"),
        (b'{"a": "\\ud800"}', "not JSON"),
        (b'{"a": 1} x', "not JSON"),
        ('{"a": 1}'.encode("utf-16"), "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
        (b"[1]", "object"),
        (b"null", "object"),
        (b'"text"', "object"),
    ],
)
def test_body_that_is_no_json_object_is_refused(raw: bytes, why: str) -> None:
    refusal = refused(parse, raw)
    assert (refusal.status, refusal.code) == (400, "invalid_json")
    assert why in str(refusal)


@pytest.mark.parametrize(
    "value",
    [
        {"a": 2**63},
        {"a": -(2**63) - 1},
        {"a": parse(b'{"x": 1e999}')["x"]},
        {"a": [1, 2, 10**30]},
        {"a": {"b": [0.5, 10**30]}},
    ],
)
def test_numbers_beyond_64_bits_are_refused_wherever_they_stand(value: dict[str, Any]) -> None:
    assert "too large" in str(refused(check_tree, value, RequestLimits.model_validate({}), ()))


def test_depth_is_bounded() -> None:
    def nested(levels: int) -> dict[str, Any]:
        value: dict[str, Any] = json.loads('{"a":' * levels + "1" + "}" * levels)
        return value

    limits = RequestLimits.model_validate({"max_depth": 6})
    assert check_tree(nested(6), limits, ()) == 0
    assert "6 levels" in str(refused(check_tree, nested(7), limits, ()))


def test_characters_of_all_texts_are_counted_but_not_media_in_the_body() -> None:
    body = {"a": "12345", "b": [{"c": "678", "image_url": {"url": "data:image/png;base64,AAAA"}}]}
    assert check_tree(body, RequestLimits.model_validate({}), ()) == 8


@pytest.mark.parametrize(
    "address",
    ["data:image/png;base64,AA", "DATA:,x", "https://img.example.org/a.png", "http://img.example.org:80/"],
)
def test_addresses_that_may_be_fetched(address: str) -> None:
    check_address(address, {"img.example.org"}, "image_url")


@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:8000/metrics",
        "http://[::1]/",
        "https://img.example.org.evil.org/",
        "https://img.example.org@evil.org/",
        "https://user@img.example.org/",
        "https://img.example.org:22/",
        "https://evil.org\\@img.example.org/",
        "https://img.example.org /",
        "ftp://img.example.org/",
        "file:///etc/passwd",
        "//img.example.org/a",
        "http://[bad",
        "http://img.example.org:99999999/",
        "gopher://x",
        "",
    ],
)
def test_addresses_that_a_stranger_must_not_have_fetched(address: str) -> None:
    assert refused(check_address, address, {"img.example.org"}, "image_url").status == 400


@pytest.mark.parametrize("kind", ["image_url", "video_url", "audio_url"])
@pytest.mark.parametrize("form", ["object", "text"])
def test_addresses_are_found_in_messages(kind: str, form: str) -> None:
    url = "http://10.0.0.1/x"
    part = {"type": kind, kind: {"url": url} if form == "object" else url}
    refusal = refused(chat, messages=[{"role": "user", "content": [part]}])
    assert (refusal.code, refusal.param) == ("refused_address", kind)


def test_a_tool_may_have_a_parameter_called_image_url() -> None:
    schema = {"type": "object", "properties": {"image_url": {"type": "string"}}}
    assert chat(tools=[{"type": "function", "function": {"name": "f", "parameters": schema}}]).sequences == 1


def test_a_usual_chat_passes() -> None:
    asked = chat(max_tokens=100, temperature=0.7, n=2, stream=True, stop=["a"], logprobs=True, top_logprobs=5)
    assert asked == RequestSummary("m", 2, stream=True, characters=9, answers=2)


def test_null_fields_mean_absent() -> None:
    names = ("max_tokens", "n", "temperature", "stop", "tools", "stream", "user", "chat_template", "logprobs")
    assert chat(**dict.fromkeys(names)).sequences == 1


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("max_tokens", 101, "limit_exceeded"),
        ("max_tokens", -1, "limit_exceeded"),
        ("max_tokens", "8", "invalid_value"),
        ("max_tokens", True, "invalid_value"),
        ("max_tokens", 8.5, "invalid_value"),
        ("max_tokens", [8], "invalid_value"),
        ("max_completion_tokens", 101, "limit_exceeded"),
        ("min_tokens", 101, "limit_exceeded"),
        ("n", 5, "limit_exceeded"),
        ("n", 0, "limit_exceeded"),
        ("n", "2", "invalid_value"),
        ("best_of", 5, "limit_exceeded"),
        ("top_logprobs", 21, "limit_exceeded"),
        ("prompt_logprobs", -1, "limit_exceeded"),
        ("logprobs", 21, "limit_exceeded"),
        ("logprobs", "yes", "invalid_value"),
        ("temperature", "hot", "invalid_value"),
        ("temperature", -1, "limit_exceeded"),
        ("top_p", 1.5, "limit_exceeded"),
        ("stream", "true", "invalid_value"),
        ("stream", 1, "invalid_value"),
        ("stream_options", [], "invalid_value"),
        ("structured_outputs", [], "invalid_value"),
        ("response_format", "json", "invalid_value"),
        ("functions", {}, "invalid_value"),
        ("tool_choice", 1, "invalid_value"),
        ("model", 7, "invalid_value"),
        ("model", "x" * 21, "limit_exceeded"),
        ("user", "x" * 21, "limit_exceeded"),
        ("request_id", {}, "invalid_value"),
        ("stop", ["a", "b", "c"], "limit_exceeded"),
        ("stop", "x" * 21, "limit_exceeded"),
        ("stop", [1], "invalid_value"),
        ("stop_token_ids", [1, 2, 3, 4], "limit_exceeded"),
        ("logit_bias", {"1": 1, "2": 1, "3": 1, "4": 1}, "limit_exceeded"),
        ("logit_bias", [1], "invalid_value"),
        ("bad_words", ["a", "b", "c"], "limit_exceeded"),
        ("tools", [{}, {}], "limit_exceeded"),
        ("response_format", {"type": "x" * 200}, "limit_exceeded"),
        ("structured_outputs", {"regex": "a" * 300}, "limit_exceeded"),
        ("chat_template", "{{ 1 }}", "refused_field"),
        ("chat_template", "", "refused_field"),
        ("prompt_embeds", "AAAA", "refused_field"),
        ("kv_transfer_params", {}, "refused_field"),
        ("use_beam_search", True, "refused_field"),
        ("chat_template_kwargs", {"chat_template": "x"}, "refused_field"),
        ("chat_template_kwargs", {"a": {"b": 1}}, "invalid_value"),
        ("chat_template_kwargs", "x", "invalid_value"),
        ("chat_template_kwargs", {"a": "x" * 60}, "limit_exceeded"),
        ("messages", [], "invalid_value"),
        ("messages", "hello", "invalid_value"),
        ("messages", ["hello"], "invalid_value"),
        ("messages", HELLO * 4, "limit_exceeded"),
        ("messages", [{"role": "user", "content": "x" * 51}], "limit_exceeded"),
    ],
)
def test_fields_of_a_chat_are_bounded(field: str, value: Any, reason: str) -> None:
    refusal = refused(chat, **{field: value})
    assert refusal.code == reason
    assert refusal.param == field or field == "messages"


@pytest.mark.parametrize("value", [8, 8.0, 0])
def test_whole_numbers_may_be_written_with_a_point(value: float) -> None:
    assert chat(max_tokens=value).sequences == 1


def test_plain_template_options_pass() -> None:
    assert chat(chat_template_kwargs={"enable_thinking": False}, use_beam_search=False).sequences == 1


@pytest.mark.parametrize(
    ("prompt", "n", "sequences"),
    [
        ("one", 1, 1),
        (["one", "two"], 1, 2),
        (["one", "two"], 3, 6),
        ([1, 2, 3], 2, 2),
        ([[1, 2], [3]], 1, 2),
    ],
)
def test_slots_are_prompts_times_answers(prompt: Any, n: int, sequences: int) -> None:
    assert completion(prompt, n=n).sequences == sequences


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        (None, "invalid_value"),
        ([], "invalid_value"),
        (7, "invalid_value"),
        ([1.5], "invalid_value"),
        ([None], "invalid_value"),
        ("x" * 51, "limit_exceeded"),
        (["x" * 51], "limit_exceeded"),
        (list(range(11)), "limit_exceeded"),
        ([list(range(11))], "limit_exceeded"),
        (["a"] * 6, "limit_exceeded"),
    ],
)
def test_prompts_are_bounded(prompt: Any, reason: str) -> None:
    refusal = refused(completion, prompt)
    assert (refusal.code, refusal.param) == (reason, "prompt")


@pytest.mark.parametrize("beside", [{"messages": HELLO}, {"input": "x"}, {"query": "x", "documents": ["x"]}])
def test_fields_beside_the_prompt_let_none_of_it_through(beside: dict[str, Any]) -> None:
    assert completion(["a"] * 5, n=2, **beside).sequences == 10
    assert refused(completion, ["a"] * 6, **beside).code == "limit_exceeded"
    assert refused(completion, "x" * 51, **beside).code == "limit_exceeded"


def test_inputs_of_an_embedding_are_bounded() -> None:
    assert RULES.check(EMBEDDING, {"input": ["a", "b"]}).sequences == 2
    assert refused(RULES.check, EMBEDDING, {"input": ["a"] * 6}).param == "input"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/docs", 404),
        ("GET", "/openapi.json", 404),
        ("POST", "/invocations", 404),
        ("POST", "/scale_elastic_ep", 404),
        ("POST", "/v1/load_lora_adapter", 404),
        ("GET", "/v1/models/", 404),
        ("GET", "/metrics/x", 404),
        ("GET", "//v1/models", 404),
        ("GET", "/V1/models", 404),
        ("DELETE", "/v1/models", 405),
        ("GET", "/v1/completions", 405),
    ],
)
def test_only_listed_paths_exist(method: str, path: str, status: int) -> None:
    assert refused(PathTable().find, method, path).status == status


def test_operator_may_add_a_path() -> None:
    endpoint = PathTable(("POST /pooling",)).find("POST", "/pooling")
    assert (endpoint.name, endpoint.body, endpoint.queued) == ("extra", "json", True)
