"""Options that commands share: a dataclass spread over the command line, and what it gathers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from core.errors import UsageError
from rag.commands.answering import AnsweringOptions, WritingOptions
from rag.commands.spread import spread
from rag.config import AnswerConfig, RagConfig


@dataclass(frozen=True)
class Size:
    width: Annotated[int, typer.Option("--wide", min=1, help="In metres.")] = 2
    deep: bool = False


def run(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()

    @app.command()
    @spread
    def dig(place: str, size: Size, fast: bool = False) -> None:
        typer.echo(f"{place} {size} {fast}")

    ran = CliRunner().invoke(app, arguments)
    return ran.exit_code, ran.output.strip()


def test_the_fields_of_a_dataclass_are_options_of_the_command() -> None:
    assert run("here", "--wide", "3", "--deep", "--fast") == (0, "here Size(width=3, deep=True) True")


def test_a_field_that_is_not_given_keeps_its_default() -> None:
    assert run("here") == (0, "here Size(width=2, deep=False) False")


def test_a_fields_own_limits_hold() -> None:
    assert run("here", "--wide", "0")[0] == 2


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
        semantic_cache=False,
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
    assert (answer.cache.enabled, answer.cache.semantic) == (False, False)
    assert (answer.guard_file, answer.calibration) == (Path("guard.toml"), Path("limits.json"))
    assert (config.retrieve.mode, config.retrieve.top_k) == ("bm25", 7)
    assert config.index_dir == Path("elsewhere")
    assert (config.embedding.model, config.embedding.backend) == (Path("model"), "onnx")


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
