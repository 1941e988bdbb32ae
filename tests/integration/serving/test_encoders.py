"""An embedding and a rerank server, as their models suggest them."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from quantserve.serving import offline
from tests.integration.serving.conftest import Server, started_together
from tests.programs import ROOT

pytestmark = pytest.mark.engine
MODEL = "multilingual-e5-small"
DOCUMENTS = ["one passage", "quite another one", "and a third"]


@pytest.fixture(scope="module")
def e5_small() -> Path:
    """The default embedding model, unpacked where it is not yet (seven seconds)."""
    directory = ROOT / "models" / MODEL
    if not (directory / "modules.json").is_file():
        words = [sys.executable, "-m", "quantserve.rag", "embedding-model"]
        subprocess.run(words, cwd=ROOT, check=True, capture_output=True, timeout=180)
    return directory


@pytest.fixture(scope="module")
def servers(
    e5_small: Path, task_models: Path, run_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Server]]:
    folder = tmp_path_factory.mktemp("encoders")
    with started_together(folder, run_dir, e5_small, task_models / "rerank") as running:
        yield running


@pytest.fixture
def client(servers: dict[str, Server]) -> openai.OpenAI:
    return openai.OpenAI(base_url=servers[MODEL].ready["base_url"], api_key="none", max_retries=0, timeout=60)


def cosine(left: list[float], right: list[float]) -> float:
    dot = sum(a * b for a, b in zip(left, right, strict=True))
    return dot / math.sqrt(sum(a * a for a in left) * sum(b * b for b in right))


def test_each_model_got_the_profile_of_its_task(servers: dict[str, Server]) -> None:
    assert {name: server.ready["profile"] for name, server in servers.items()} == {
        MODEL: "embedding",
        "rerank": "rerank",
    }


def test_embeddings_know_a_question_in_korean_from_its_answer_in_english(client: openai.OpenAI) -> None:
    texts = [
        "query: 파리는 어느 나라의 수도인가요?",
        "passage: Paris is the capital of France.",
        "passage: 고양이는 하루에 열두 시간을 잔다.",
    ]
    answer = client.embeddings.create(model=MODEL, input=texts)
    question, right, wrong = (entry.embedding for entry in answer.data)
    assert len(question) == 384
    assert abs(sum(number * number for number in question) - 1) < 0.01
    assert cosine(question, right) > cosine(question, wrong) + 0.03
    assert answer.usage.prompt_tokens > 20


def test_lists_are_embedded_in_order(servers: dict[str, Server], client: openai.OpenAI) -> None:
    texts = [f"passage: number {number}" for number in range(70)]  # two requests
    vectors = offline.connect(servers[MODEL].ready["base_url"]).embed(texts)
    alone = client.embeddings.create(model=MODEL, input=texts[69]).data[0].embedding
    assert len(vectors) == 70
    assert cosine(vectors[69], alone) > 0.99
    assert max(range(70), key=lambda i: cosine(vectors[i], alone)) == 69


def test_one_request_may_hold_hundreds_of_texts_and_not_more_than_the_limit(client: openai.OpenAI) -> None:
    assert len(client.embeddings.create(model=MODEL, input=["query: x"] * 300).data) == 300
    with pytest.raises(openai.BadRequestError, match="more than 1024 entries"):
        client.embeddings.create(model=MODEL, input=["x"] * 1025)


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_reranker_puts_passages_in_order_of_their_scores(servers: dict[str, Server], path: str) -> None:
    url = servers["rerank"].ready["url"]
    body = {"model": "rerank", "query": "a question", "documents": DOCUMENTS, "top_n": 2}
    results = httpx.post(f"{url}{path}", json=body, timeout=60).json()["results"]
    scores = [entry["relevance_score"] for entry in results]
    assert len(scores) == 2
    assert scores[0] > scores[1]
    pair = {"model": "rerank", "queries": "a question", "documents": DOCUMENTS}
    scored = httpx.post(f"{url}/score", json=pair, timeout=60).json()["data"]
    assert results[0]["index"] == max(scored, key=lambda entry: entry["score"])["index"]
    assert results[0]["document"]["text"] == DOCUMENTS[results[0]["index"]]
