"""Tokens guessed ahead, from the prompt and by a draft model, in engines that a batch and a list start."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from quantserve.serving import offline
from quantserve.serving.hardware.system import find_libraries
from tests.programs import PYTHON, ROOT, told_by

pytestmark = pytest.mark.engine
HEAD = "description: speculation\ndevice: cpu\nmax_sequences: 8\nkv: {max_gib: 0.1}\n"


@dataclass(frozen=True)
class Batch:
    """A batch that is running."""

    process: subprocess.Popen[str]
    out: Path


@pytest.fixture(scope="module", autouse=True)
def batch(tiny_model: Path, run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Batch]:
    """Started before all tests of the module: most of an engine's start keeps one core busy only."""
    folder = tmp_path_factory.mktemp("batch")
    profile, source, out = folder / "ngram.yaml", folder / "in.jsonl", folder / "out.jsonl"
    profile.write_text(HEAD + "speculation: {method: ngram, tokens: 4, up_to: 6}\n", encoding="utf-8")
    body = {"prompt": [5, 6, 7, 8] * 20, "max_tokens": 12, "temperature": 0, "ignore_eos": True}
    lines = [{"custom_id": f"id-{number}", "url": "/v1/completions", "body": body} for number in range(6)]
    source.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    words = [PYTHON, "-m", "quantserve.serving", "batch", source, out, tiny_model, "--profile", profile]
    process = subprocess.Popen(
        [*map(str, words), "--run-dir", str(run_dir)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield Batch(process, out)
    if process.poll() is None:
        process.terminate()
        process.communicate(timeout=60)


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
    monkeypatch.setattr("quantserve.serving.temporary.sys.executable", PYTHON)
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


def test_batch_starts_an_engine_that_guesses_from_the_prompt_and_ends_it(batch: Batch) -> None:
    stdout, stderr = batch.process.communicate(timeout=240)
    assert batch.process.returncode == 0, stderr
    counts = json.loads(stdout.splitlines()[-1])
    assert (counts["answered"], counts["lines"]) == (6, 6)
    lines = [json.loads(line) for line in batch.out.read_text(encoding="utf-8").splitlines()]
    answers = [line["response"]["body"] for line in lines]
    assert all(answer["usage"]["completion_tokens"] == 12 for answer in answers)
    assert len({answer["choices"][0]["text"] for answer in answers}) == 1


@pytest.mark.parametrize(("layer", "left"), [("workqueue", 2), ("omp", 1)])
def test_a_guess_leaves_the_engine_its_threads(layer: str, left: int) -> None:
    """The plan sets the first layer. The second, numba's default, left an engine that guesses one thread."""
    openmp = find_libraries(Path(PYTHON).parents[1]).iomp
    assert openmp is not None
    found = told_by(Path(__file__).with_name("guess.py"), LD_PRELOAD=openmp, NUMBA_THREADING_LAYER=layer)
    assert found == {"guess": [8, 5], "before": 2, "after": left}
