"""What one engine offers beside plain text, through the official openai client, behind the guard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from quantserve.core.http.key_commands import new_key
from quantserve.core.http.keys import Key, write_keys
from quantserve.serving.guard.paths import KEY_RULES
from tests.integration.serving.conftest import Server, Serving

pytestmark = pytest.mark.engine
COLOURS = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "blue"]}, "sure": {"type": "boolean"}},
    "required": ["colour", "sure"],
    "additionalProperties": False,
}
# As with OpenAI, only a strict function's arguments are held to its schema.
PAINT = {"name": "paint", "description": "paint it", "parameters": COLOURS, "strict": True}
TOOL: Any = {"type": "function", "function": PAINT}
PROFILE = """
description: small prefill chunks, so that a prompt of some hundred tokens needs several
device: cpu
max_sequences: 8
max_batched_tokens: 64
kv: {max_gib: 0.1}
tool_parser: hermes
"""


def make_key(name: str, models: tuple[str, ...], endpoints: tuple[str, ...]) -> tuple[Key, str]:
    return new_key(KEY_RULES, name, models=models, endpoints=endpoints)


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A key for everything, one for the base model only, one that may change adapters; and their file."""
    made = {
        "all": make_key("all", ("*",), ("*",)),
        "base": make_key("base", ("tiny",), ("*",)),
        "admin": make_key("admin", ("*",), ("*", "lora")),
    }
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    write_keys(path, tuple(key for key, _ in made.values()))
    return {"file": str(path), **{name: secret for name, (_, secret) in made.items()}}


@pytest.fixture(scope="module")
def server(
    tiny_model: Path,
    task_models: Path,
    run_dir: Path,
    secrets: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("features")
    profile = folder / "features.yaml"
    profile.write_text(PROFILE, encoding="utf-8")
    adapters = task_models / "adapters"
    words = ["--profile", profile, "--keys", secrets["file"]]
    words += ["--lora", f"shout={adapters}/shout", "--lora", f"whisper={adapters}/whisper"]
    started = Server(tiny_model, run_dir, folder / "ready.json", *map(str, words))
    yield started
    started.end()


@pytest.fixture(scope="module")
def client(server: Server, secrets: dict[str, str]) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.ready["base_url"], api_key=secrets["all"], max_retries=0, timeout=60)


def counters(server: Server, word: str) -> dict[str, float]:
    text = httpx.get(f"{server.ready['url']}/metrics", timeout=20, trust_env=False).text
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if word in sample.name:
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def complete(client: openai.OpenAI, model: str = "tiny", **more: Any) -> str:
    options: dict[str, Any] = {"prompt": "The with statement", "max_tokens": 8, "temperature": 0, **more}
    answer = client.completions.create(model=model, **options)
    return str(answer.choices[0].text)


def test_stream_brings_piece_by_piece_what_the_whole_answer_is(client: openai.OpenAI) -> None:
    options: Any = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 8, "temperature": 0}
    whole = client.chat.completions.create(model="tiny", **options).choices[0].message.content
    with client.chat.completions.create(model="tiny", stream=True, **options) as stream:
        pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(pieces) == whole
    assert len([piece for piece in pieces if piece]) > 1


def test_prompt_longer_than_a_step_is_read_in_chunks(server: Server, client: openai.OpenAI) -> None:
    # 64 tokens fit into a step; vLLM refuses longer prompts without chunked prefill.
    answer = client.completions.create(model="tiny", prompt=[7] * 400, max_tokens=1)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 400
    assert "--enable-chunked-prefill" in server.ready["argv"]


def test_equal_beginning_is_computed_once(server: Server, client: openai.OpenAI) -> None:
    prompt = [9, 8] * 150  # two blocks of 128 and a rest
    client.completions.create(model="tiny", prompt=prompt, max_tokens=1)
    before = counters(server, "prefix_cache_hits")["vllm:prefix_cache_hits_total"]
    client.completions.create(model="tiny", prompt=prompt, max_tokens=1)
    assert counters(server, "prefix_cache_hits")["vllm:prefix_cache_hits_total"] == before + 256


def test_logprobs_come_with_their_rivals(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "hello"}],
        max_tokens=3,
        temperature=0,
        logprobs=True,
        top_logprobs=4,
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert all(len(token.top_logprobs) == 4 for token in logprobs.content)
    # Greedy: the chosen token is the most probable one.
    assert all(token.logprob == max(r.logprob for r in token.top_logprobs) for token in logprobs.content)


def test_guided_json_fits_its_schema(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "a colour"}],
        max_tokens=120,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "colours", "schema": COLOURS, "strict": True},
        },
    )
    said = json.loads(answer.choices[0].message.content or "")
    assert said["colour"] in ("red", "blue")
    assert isinstance(said["sure"], bool)


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "paint"}}], ids=["required", "named"]
)
def test_tool_call_has_arguments_of_its_schema(client: openai.OpenAI, choice: Any) -> None:
    answer = client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "paint it"}],
        tools=[TOOL],
        tool_choice=choice,
        parallel_tool_calls=False,  # a random model would call for ever
        max_tokens=200,
    )
    calls = answer.choices[0].message.tool_calls
    assert calls
    assert calls[0].type == "function"
    assert calls[0].function.name == "paint"
    assert json.loads(calls[0].function.arguments)["colour"] in ("red", "blue")


def test_model_may_be_given_tools_and_leave_them(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "hello"}],
        tools=[TOOL],
        tool_choice="auto",
        max_tokens=4,
    )
    assert answer.choices[0].finish_reason in ("length", "stop")


def test_adapters_answer_by_their_names_each_in_its_own_way(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names == ["tiny", "shout", "whisper"]
    answers = {name: complete(client, name) for name in names}
    assert len(set(answers.values())) == 3


def test_adapter_is_unloaded_and_loaded_again_by_its_name(
    server: Server, client: openai.OpenAI, secrets: dict[str, str]
) -> None:
    admin = client.with_options(api_key=secrets["admin"])
    before = complete(client, "shout")
    admin.post("/unload_lora_adapter", cast_to=httpx.Response, body={"lora_name": "shout"})
    with pytest.raises(openai.NotFoundError):
        complete(client, "shout")
    assert [model.id for model in client.models.list()] == ["tiny", "whisper"]
    admin.post("/load_lora_adapter", cast_to=httpx.Response, body={"lora_name": "shout"})
    assert complete(client, "shout") == before


@pytest.mark.parametrize(
    ("key", "body", "status"),
    [
        ("all", {"lora_name": "shout"}, 403),  # a key for everything does not change adapters
        ("admin", {"lora_name": "shout", "lora_path": "/etc"}, 400),
        ("admin", {"lora_name": "/etc"}, 404),
    ],
)
def test_no_path_and_no_stranger_reaches_the_adapters(
    client: openai.OpenAI, secrets: dict[str, str], key: str, body: dict[str, str], status: int
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.with_options(api_key=secrets[key]).post(
            "/load_lora_adapter", cast_to=httpx.Response, body=body
        )
    assert caught.value.status_code == status


def test_key_for_the_base_model_gets_no_adapter(client: openai.OpenAI, secrets: dict[str, str]) -> None:
    based = client.with_options(api_key=secrets["base"])
    assert complete(based) == complete(client)
    with pytest.raises(openai.PermissionDeniedError):
        complete(based, "shout")


def test_chat_keeps_the_talk_and_saves_it(
    server: Server, serving: Serving, secrets: dict[str, str], tmp_path: Path
) -> None:
    saved = tmp_path / "talk.jsonl"
    lines = f"/system be brief\nhello\nagain\n/save {saved}\n/reset\n/save {saved}2\n종료\nnever\n"
    words = ("--base-url", server.ready["base_url"], "--api-key", secrets["all"], "--max-tokens", "4")
    done = serving("chat", *words, stdin=lines)
    assert done.returncode == 0, done.stderr
    roles = [json.loads(line)["role"] for line in saved.read_text(encoding="utf-8").splitlines()]
    assert roles == ["system", "user", "assistant", "user", "assistant"]
    assert "5 messages are in" in " ".join(done.stderr.split())
    rest = Path(f"{saved}2").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["role"] for line in rest] == ["system"]
