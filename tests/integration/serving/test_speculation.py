"""Tokens guessed ahead, from the prompt and by a draft model, in engines that a batch and a list start."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving import offline
from tests.integration.serving.conftest import PYTHON, Serving

pytestmark = pytest.mark.engine
HEAD = "description: speculation\ndevice: cpu\nmax_sequences: 8\nkv: {max_gib: 0.1}\n"


def accepted(url: str) -> tuple[float, float]:
    """Return how many tokens were guessed and how many of them were right."""
    text = httpx.get(f"{url}/metrics", timeout=20, trust_env=False).text
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return (
        found["vllm:spec_decode_num_draft_tokens_total"],
        found["vllm:spec_decode_num_accepted_tokens_total"],
    )


def test_draft_model_that_is_the_model_itself_guesses_right(
    tiny_model: Path, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.temporary.sys.executable", PYTHON)
    profile = tmp_path / "draft.yaml"
    wish = f"speculation: {{method: draft_model, tokens: 3, draft: {tiny_model}}}\n"
    profile.write_text(HEAD + wish, encoding="utf-8")
    with offline.engine(tiny_model, profile=str(profile), run_dir=run_dir) as model:
        answers = model.complete(["The with statement"] * 3, max_tokens=12, temperature=0)
        assert len(set(answers)) == 1
        assert answers[0]
        guessed, right = accepted(model.base_url.removesuffix("/v1"))
    assert guessed > 0
    assert right > 0.5 * guessed


def test_batch_starts_an_engine_that_guesses_from_the_prompt_and_ends_it(
    serving: Serving, tiny_model: Path, run_dir: Path, tmp_path: Path
) -> None:
    profile = tmp_path / "ngram.yaml"
    profile.write_text(HEAD + "speculation: {method: ngram, tokens: 4}\n", encoding="utf-8")
    body = {"prompt": [5, 6, 7, 8] * 20, "max_tokens": 12, "temperature": 0, "ignore_eos": True}
    lines = [{"custom_id": f"id-{number}", "url": "/v1/completions", "body": body} for number in range(6)]
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    done = serving("batch", source, out, tiny_model, "--profile", profile, "--run-dir", run_dir)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    assert (counts["answered"], counts["lines"]) == (6, 6)
    answers = [json.loads(line)["response"]["body"] for line in out.read_text(encoding="utf-8").splitlines()]
    assert all(answer["usage"]["completion_tokens"] == 12 for answer in answers)
    assert len({answer["choices"][0]["text"] for answer in answers}) == 1
