"""What we say of vLLM against what it says itself: the KV cache's size for every shape, and its options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quantserve.core.http.keys import write_keys
from quantserve.serving.guard.middleware import Guard
from quantserve.serving.guard.paths import ALLOWED
from quantserve.serving.guard.settings import GuardSettings
from quantserve.serving.kv import KvLayout, block_tokens, kv_estimate
from quantserve.serving.model import read_model_facts
from quantserve.serving.planning.options import known_options
from tests.integration.serving.guard.app import METHODS
from tests.integration.serving.guard.test_doors import Behind, call
from tests.programs import told_by

pytestmark = pytest.mark.engine
SIZE_BYTES, BATCHED_TOKENS, LENGTH = 4_000_000, 512, 1024
SHAPES = ("mha", "gqa", "mqa", "window-everywhere", "window-in-most", "mla")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shapes")


@pytest.fixture(scope="module")
def vllm(folder: Path) -> dict[str, Any]:
    """One process starts the engine once for each shape."""
    script = Path(__file__).with_name("report_from_vllm.py")
    return told_by(script, folder, str(SIZE_BYTES), str(BATCHED_TOKENS))


@pytest.fixture(scope="module")
def reported(vllm: dict[str, Any]) -> dict[str, int]:
    found: dict[str, int] = vllm["kv_cache_tokens"]
    return found


def test_our_list_of_options_is_vllms(vllm: dict[str, Any]) -> None:
    assert list(known_options()) == vllm["options"]


def test_paths_of_the_allow_list_are_vllms(vllm: dict[str, Any]) -> None:
    for path, methods in ALLOWED.items():
        for method, endpoint in methods.items():
            if {"generate", "transcribe"}.intersection(endpoint.tasks):
                assert {method, "ANY"}.intersection(vllm["routes"][path]), path


def test_no_path_of_vllms_is_reached_without_a_key_by_any_method(
    vllm: dict[str, Any], tmp_path: Path
) -> None:
    write_keys(tmp_path / "k", ())
    behind = Behind()
    settings = {"keys_file": str(tmp_path / "k"), "metrics_open": False}
    for task in ("generate", "transcribe"):
        guard = Guard(behind, GuardSettings.model_validate({**settings, "task": task}))
        for path in vllm["routes"]:
            for method in METHODS:
                status = call(guard, method, path.replace("{response_id}", "r1"), {}).status_code
                assert status in (200, 204, 401, 404, 405), (method, path)
        guard.close()
    assert len(vllm["routes"]) > 30
    assert set(behind.reached) == {("GET", "/health")}


@pytest.mark.parametrize("shape", SHAPES)
def test_estimate_is_within_5_percent_of_the_engines_own(
    shape: str, reported: dict[str, int], folder: Path
) -> None:
    facts = read_model_facts(folder / shape)
    layout = KvLayout("float32", block_tokens(facts, "cpu"), LENGTH, BATCHED_TOKENS)
    estimate = kv_estimate(facts, layout, SIZE_BYTES)
    assert reported[shape] > 0
    assert abs(estimate.tokens - reported[shape]) <= 0.05 * reported[shape]


def test_shapes_differ_as_they_should(reported: dict[str, int]) -> None:
    assert reported["mqa"] > reported["gqa"] > reported["mha"]
