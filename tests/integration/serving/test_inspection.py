"""What the real engine's code says of configurations of every kind, and what a user reads of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.serving.conftest import Serving
from tests.integration.serving.report_views import CONFIGS
from tests.programs import told_by

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("configurations")
    return told_by(Path(__file__).with_name("report_views.py"), folder / "models")


@pytest.mark.parametrize(
    ("name", "length"),
    [
        ("positions", 512),
        ("tokenizer", 99),
        ("tokenizer-of-a-decoder", 512),
        ("sentences", 128),
        ("linear", 2048),
        ("yarn", 2048),
    ],
)
def test_each_source_of_a_length_counts_as_it_does_for_the_engine(
    views: dict[str, Any], name: str, length: int
) -> None:
    assert (views[name]["refusal"], views[name]["length"]) == ("", length)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bart", "it is an encoder-decoder, of which vLLM runs those that transcribe speech alone"),
        ("marian", "it is an encoder-decoder, of which vLLM runs those that transcribe speech alone"),
        ("t5", "it is an encoder-decoder, of which vLLM runs those that transcribe speech alone"),
        ("wav2vec2", "it reads input_values, not text"),
        ("images", "it reads pixel_values, not text"),
        ("segments", "it reads pixel_values, not text"),
        ("question-answering", "it generates no text, embeds none and judges none"),
        ("labels-of-tokens", "it labels or fills in single tokens, for which there is no endpoint"),
        ("labels-of-tokens-by-bert", "it labels or fills in single tokens, for which there is no endpoint"),
        ("encoder-that-goes-on", "it generates no text, embeds none and judges none"),
        ("unknown-class", "Model architectures ['NoSuchForCausalLM'] are not supported for now"),
        ("unknown-type", "The checkpoint you are trying to load has model type `nosuch` but Transformers"),
        ("no-longer", "Model architecture MPTForCausalLM was supported in vLLM until"),
    ],
)
def test_what_the_engine_cannot_serve_is_known_before_it_starts(
    views: dict[str, Any], name: str, words: str
) -> None:
    assert views[name]["refusal"].startswith(words)


@pytest.mark.parametrize("command", ["plan", "up"])
def test_a_user_reads_one_line_with_what_is_served(
    serving: Serving, tmp_path: Path, run_dir: Path, command: str
) -> None:
    (tmp_path / "bart").mkdir()
    (tmp_path / "bart/config.json").write_text(json.dumps(CONFIGS["bart"]))
    done = serving(command, tmp_path / "bart", "--run-dir", run_dir)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        "serving: bart is not served: it is an encoder-decoder, of which vLLM runs those that transcribe "
        "speech alone (BartForConditionalGeneration). Served are language models (decoders), embedding, "
        "classification and reranking models, and Whisper"
    )
