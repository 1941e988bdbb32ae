"""A classification and a Whisper server, as their models suggest them."""

from __future__ import annotations

import io
import math
import wave
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.integration.serving.conftest import Server, started_together

pytestmark = pytest.mark.engine
LABELS = ["bad", "good", "mixed"]


@pytest.fixture(scope="module")
def servers(
    task_models: Path, run_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Server]]:
    folder = tmp_path_factory.mktemp("others")
    targets = task_models / "classification", task_models / "whisper"
    with started_together(folder, run_dir, *targets) as running:
        yield running


@pytest.fixture
def client(servers: dict[str, Server]) -> openai.OpenAI:
    base = servers["whisper"].ready["base_url"]
    return openai.OpenAI(base_url=base, api_key="none", max_retries=0, timeout=60)


def test_each_model_got_the_profile_of_its_task(servers: dict[str, Server]) -> None:
    assert {name: server.ready["profile"] for name, server in servers.items()} == {
        "classification": "classification",
        "whisper": "transcription",
    }


def test_classifier_names_the_most_probable_label(servers: dict[str, Server]) -> None:
    body = {"model": "classification", "input": ["fine weather", "a long rain"]}
    url = servers["classification"].ready["url"]
    data = httpx.post(f"{url}/classify", json=body, timeout=60).json()["data"]
    assert len(data) == 2
    for entry in data:
        assert len(entry["probs"]) == 3
        assert abs(sum(entry["probs"]) - 1) < 0.01
        assert LABELS[entry["probs"].index(max(entry["probs"]))] == entry["label"]


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


@pytest.mark.parametrize("rate_hz", [16_000, 8_000], ids=["as-it-is", "resampled"])
def test_speech_becomes_text(client: openai.OpenAI, rate_hz: int) -> None:
    answer = client.audio.transcriptions.create(
        model="whisper",
        file=tone(1.0, rate_hz),
        language="ko",
        temperature=0,
        extra_body={"max_completion_tokens": 8},
    )
    assert answer.text


def test_what_is_no_sound_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        client.audio.transcriptions.create(model="whisper", file=("a.wav", b"no sound at all"))
