"""Options that commands share: a dataclass spread over the command line, and what it gathers."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantserve.core.errors import UsageError
from quantserve.rag.commands.answering import AnsweringOptions, WritingOptions
from quantserve.rag.config import AnswerConfig, RagConfig


def test_without_options_everything_is_as_the_configuration_has_it() -> None:
    assert AnsweringOptions().config() == RagConfig()
    assert WritingOptions().answer_config() == AnswerConfig()


def test_every_option_reaches_the_configuration() -> None:
    config = AnsweringOptions(
        base_url="http://server/v1",
        api_key="key",
        model="Qwen",
        answer_mode="extract",
        answer_languages="en,ko",
        max_tokens=50,
        cache=False,
        semantic_cache=True,
        cache_judge="cross-encoder",
        cache_judge_score=0.5,
        guard_file=Path("guard.toml"),
        calibration=Path("limits.json"),
        mode="bm25",
        top_k=7,
        index_dir=Path("elsewhere"),
        embedding_model=Path("model"),
        backend="onnx",
    ).config()
    answer = config.answer
    assert (answer.base_url, answer.api_key, answer.model) == ("http://server/v1", "key", "Qwen")
    assert (answer.mode, answer.answer_languages, answer.max_tokens) == ("extract", "en,ko", 50)
    assert (answer.cache.enabled, answer.cache.semantic) == (False, True)
    assert (answer.cache.judge, answer.cache.judge_min_score) == ("cross-encoder", 0.5)
    assert (answer.guard_file, answer.calibration) == (Path("guard.toml"), Path("limits.json"))
    assert (config.retrieve.mode, config.retrieve.top_k) == ("bm25", 7)
    assert config.index_dir == Path("elsewhere")
    assert (config.embedding.model, config.embedding.backend) == (Path("model"), "onnx")


def test_a_semantic_cache_without_a_judge_is_refused() -> None:
    with pytest.raises(UsageError, match="--semantic-cache has no judge"):
        AnsweringOptions(answer_mode="extract", semantic_cache=True).config()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (AnsweringOptions(answer_mode="guess"), "--mode"),
        (AnsweringOptions(mode="guess"), "--retrieve"),
        (AnsweringOptions(backend="guess"), "--backend"),
    ],
    ids=["mode", "retrieve", "backend"],
)
def test_what_is_none_of_the_choices_is_refused_by_its_option(options: AnsweringOptions, named: str) -> None:
    with pytest.raises(UsageError, match=f"{named} cannot be 'guess'"):
        options.config()
