"""Servers that do not chat, each started once, small, by the profile its model suggests."""

from __future__ import annotations

import io
import math
import subprocess
import sys
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
import pytest

from tests.integration.serving.conftest import ROOT, Server

pytestmark = pytest.mark.engine


@contextmanager
def served(model: Path, run_dir: Path, folder: Path, *words: str) -> Iterator[tuple[Server, openai.OpenAI]]:
    server = Server(model, run_dir, folder / "ready.json", *words)
    try:
        base = server.ready["base_url"]
        yield server, openai.OpenAI(base_url=base, api_key="none", max_retries=0, timeout=60)
    finally:
        server.end()


def cosine(left: list[float], right: list[float]) -> float:
    dot = sum(a * b for a, b in zip(left, right, strict=True))
    return dot / math.sqrt(sum(a * a for a in left) * sum(b * b for b in right))


@pytest.fixture(scope="module")
def e5_small() -> Path:
    """The default embedding model, unpacked where it is not yet (seven seconds)."""
    directory = ROOT / "models/multilingual-e5-small"
    if not (directory / "modules.json").is_file():
        words = [sys.executable, "-m", "rag", "embedding-model"]
        subprocess.run(words, cwd=ROOT, check=True, capture_output=True, timeout=180)
    return directory


def test_embeddings_of_the_default_model_know_korean_from_english(
    e5_small: Path, run_dir: Path, tmp_path: Path
) -> None:
    texts = [
        "query: 파리는 어느 나라의 수도인가요?",
        "passage: Paris is the capital of France.",
        "passage: 고양이는 하루에 열두 시간을 잔다.",
    ]
    with served(e5_small, run_dir, tmp_path) as (server, client):
        assert server.ready["profile"] == "embedding"
        answer = client.embeddings.create(model="multilingual-e5-small", input=texts)
        question, right, wrong = (entry.embedding for entry in answer.data)
        assert len(question) == 384
        assert abs(sum(number * number for number in question) - 1) < 0.01
        assert cosine(question, right) > cosine(question, wrong) + 0.03
        assert answer.usage.prompt_tokens > 20
        many = client.embeddings.create(model="multilingual-e5-small", input=["query: x"] * 300)
        assert len(many.data) == 300
        with pytest.raises(openai.BadRequestError, match="more than 1024 entries"):
            client.embeddings.create(model="multilingual-e5-small", input=["x"] * 1025)


def test_reranker_puts_passages_in_order(task_models: Path, run_dir: Path, tmp_path: Path) -> None:
    documents = ["one passage", "quite another one", "and a third"]
    with served(task_models / "rerank", run_dir, tmp_path) as (server, _):
        assert server.ready["profile"] == "rerank"
        body = {"model": "rerank", "query": "a question", "documents": documents, "top_n": 2}
        for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
            answer = httpx.post(f"{server.ready['url']}{path}", json=body, timeout=60).json()
            scores = [entry["relevance_score"] for entry in answer["results"]]
            assert len(scores) == 2
            assert scores == sorted(scores, reverse=True)
        pair = {"model": "rerank", "queries": "a question", "documents": documents}
        scored = httpx.post(f"{server.ready['url']}/score", json=pair, timeout=60).json()["data"]
        best = max(scored, key=lambda entry: entry["score"])
        assert answer["results"][0]["index"] == best["index"]
        assert answer["results"][0]["document"]["text"] == documents[best["index"]]


def test_classifier_names_labels(task_models: Path, run_dir: Path, tmp_path: Path) -> None:
    with served(task_models / "classification", run_dir, tmp_path) as (server, _):
        assert server.ready["profile"] == "classification"
        body = {"model": "classification", "input": ["fine weather", "a long rain"]}
        data = httpx.post(f"{server.ready['url']}/classify", json=body, timeout=60).json()["data"]
    assert len(data) == 2
    for entry in data:
        assert entry["label"] in ("bad", "good", "mixed")
        assert len(entry["probs"]) == 3
        assert abs(sum(entry["probs"]) - 1) < 0.01
        assert ["bad", "good", "mixed"][entry["probs"].index(max(entry["probs"]))] == entry["label"]


def tone(seconds: float, rate_hz: int) -> io.BytesIO:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(2)
        audio.setframerate(rate_hz)
        samples = (int(9000 * math.sin(i * 0.2)) for i in range(int(seconds * rate_hz)))
        audio.writeframes(b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples))
    stream.seek(0)
    stream.name = "tone.wav"
    return stream


def test_speech_becomes_text(task_models: Path, run_dir: Path, tmp_path: Path) -> None:
    with served(task_models / "whisper", run_dir, tmp_path) as (server, client):
        assert server.ready["profile"] == "transcription"
        for rate_hz in (16_000, 8_000):  # the second has to be resampled
            answer = client.audio.transcriptions.create(
                model="whisper",
                file=tone(1.0, rate_hz),
                language="ko",
                temperature=0,
                extra_body={"max_completion_tokens": 8},
            )
            assert isinstance(answer.text, str)
            assert answer.text
        with pytest.raises(openai.BadRequestError):
            client.audio.transcriptions.create(model="whisper", file=("a.wav", b"no sound at all"))
