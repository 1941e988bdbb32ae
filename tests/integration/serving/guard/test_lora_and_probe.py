"""Adapters by name only, and the probe of servers that do not chat; both behind the real guard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from quantserve.core.http.key_commands import new_key
from quantserve.core.http.keys import digest, write_keys
from quantserve.serving.guard.internal import use_internal_key
from quantserve.serving.guard.launcher_client import TaskProbe
from quantserve.serving.guard.middleware import Guard
from quantserve.serving.guard.paths import KEY_RULES
from quantserve.serving.guard.settings import GuardSettings
from quantserve.serving.health import decode_probe
from tests.integration.serving.guard.app import GuardedServer

LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    weights = tmp_path / "ko/adapter_model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    return weights


@pytest.fixture
def server(adapter: Path) -> Iterator[GuardedServer]:
    status = adapter.stat()
    offered = {
        "name": "ko",
        "directory": str(adapter.parent),
        "bytes": status.st_size,
        "mtime_ns": status.st_mtime_ns,
    }
    made = GuardedServer(adapters=[offered])
    for path in (LOAD, UNLOAD):
        made.engine.app.add_api_route(path, made.engine.complete, methods=["POST"])
    yield made
    made.close()


def ask(server: GuardedServer, path: str, key: str | None = None, **body: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return server.client.post(path, json=body, headers=headers)


def test_engine_gets_the_path_that_was_checked(server: GuardedServer, adapter: Path) -> None:
    assert ask(server, LOAD, lora_name="ko").status_code == 200
    assert ask(server, UNLOAD, lora_name="ko").status_code == 200
    assert server.engine.seen == [
        {"lora_name": "ko", "lora_path": str(adapter.parent)},
        {"lora_name": "ko"},
    ]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"lora_name": "ko", "lora_path": "/etc"}, 400, "refused_field"),
        ({"lora_name": "ko", "load_inplace": True}, 400, "refused_field"),
        ({"lora_name": "other"}, 404, "unknown_adapter"),
        ({"lora_name": "../ko"}, 404, "unknown_adapter"),
        ({"lora_name": 3}, 400, "invalid_value"),
        ({}, 400, "invalid_value"),
    ],
)
def test_anything_but_an_offered_name_is_refused(
    server: GuardedServer, body: dict[str, Any], status: int, code: str
) -> None:
    answer = ask(server, LOAD, **body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert server.engine.seen == []


def test_weights_that_changed_since_they_were_checked_are_refused(
    server: GuardedServer, adapter: Path
) -> None:
    adapter.write_bytes(b"other weights")
    answer = ask(server, LOAD, lora_name="ko")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "adapter_changed")
    assert ask(server, UNLOAD, lora_name="ko").status_code == 200


def test_without_adapters_there_are_no_such_paths() -> None:
    server = GuardedServer()
    try:
        assert ask(server, LOAD, lora_name="ko").status_code == 404
    finally:
        server.close()


@pytest.mark.parametrize(
    ("endpoints", "models", "status"),
    [
        (("*",), ("*",), 403),
        (("lora",), ("*",), 200),
        (("*", "lora"), ("m",), 403),
        (("lora",), ("ko",), 200),
    ],
)
def test_key_needs_the_scope_by_name_and_the_model(
    tmp_path: Path, adapter: Path, endpoints: tuple[str, ...], models: tuple[str, ...], status: int
) -> None:
    key, secret = new_key(KEY_RULES, "k", models=models, endpoints=endpoints)
    write_keys(tmp_path / "keys.json", (key,))
    looks = adapter.stat()
    offered = {"name": "ko", "directory": str(adapter.parent), "bytes": looks.st_size}
    server = GuardedServer(
        keys_file=str(tmp_path / "keys.json"), adapters=[{**offered, "mtime_ns": looks.st_mtime_ns}]
    )
    server.engine.app.add_api_route(LOAD, server.engine.complete, methods=["POST"])
    try:
        assert ask(server, LOAD, secret, lora_name="ko").status_code == status
    finally:
        server.close()


ANSWERS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "embed": ("/v1/embeddings", {"data": [{"embedding": [0.5, 1.0]}]}, {"data": [{"embedding": []}]}),
    "score": ("/score", {"data": [{"score": 0.25}]}, {"data": [{"score": None}]}),
    "classify": ("/classify", {"data": [{"probs": [0.5, 0.5]}]}, {"data": [{"probs": ["x"]}]}),
    "transcribe": ("/v1/audio/transcriptions", {"text": ""}, {"text": None}),
}


def probed_server(task: str, path: str, answer: dict[str, Any], status: int, run: Path) -> GuardedServer:
    """A server that only has the path of its task, with probe and guard around it as vLLM puts them."""
    app = FastAPI()
    seen: list[tuple[str, bytes]] = []

    async def work(request: Request) -> JSONResponse:
        seen.append((request.headers["content-type"], await request.body()))
        return JSONResponse(answer, status)

    app.add_api_route(path, work, methods=["POST"])
    settings = GuardSettings.model_validate(
        {"task": task, "internal_key_sha256": digest(use_internal_key(run)), "artifact": {"name": "m"}}
    )
    app.add_middleware(TaskProbe, settings=settings)
    app.add_middleware(Guard, settings=settings)
    return GuardedServer.around(app, seen)


@pytest.mark.parametrize("task", ANSWERS)
def test_probe_is_a_piece_of_the_servers_own_work(task: str, tmp_path: Path) -> None:
    path, good, _ = ANSWERS[task]
    server = probed_server(task, path, good, 200, tmp_path)
    try:
        assert decode_probe(server.url, "m", 5).ok
        kind, body = server.seen[0]
        if task == "transcribe":
            assert kind.startswith("multipart/form-data")
            assert b"RIFF" in body
        else:
            assert json.loads(body)["model"] == "m"
    finally:
        server.close()


@pytest.mark.parametrize("task", ANSWERS)
@pytest.mark.parametrize("status", [200, 500])
def test_useless_answer_is_no_sign_of_life(task: str, status: int, tmp_path: Path) -> None:
    path, _, useless = ANSWERS[task]
    server = probed_server(task, path, useless, status, tmp_path)
    try:
        assert not decode_probe(server.url, "m", 5).ok
    finally:
        server.close()


def test_nobody_else_gets_completions_from_it(tmp_path: Path) -> None:
    path, good, _ = ANSWERS["embed"]
    server = probed_server("embed", path, good, 200, tmp_path)
    try:
        assert server.post(prompt="hi").status_code == 404
        assert server.seen == []
    finally:
        server.close()
