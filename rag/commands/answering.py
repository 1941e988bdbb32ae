"""The options of the commands that answer. A new one is written here alone: its alias, its field, its use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, get_args

import typer

from quantserve.core.errors import UsageError
from quantserve.rag.commands import parameters as p
from quantserve.rag.config import AnswerConfig, AnswerMode, RagConfig

ServedModelOption = Annotated[str, typer.Option("--model", help="Served model; the first one if not given.")]
AnswerModeOption = Annotated[str, typer.Option("--mode", help=f"{', '.join(get_args(AnswerMode))}.")]
LanguagesOption = Annotated[
    str,
    typer.Option(
        envvar="RAG_ANSWER_LANGUAGES", help="Languages the served model writes: auto, all, or like en,ko."
    ),
]
MaxTokensOption = Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")]
CacheOption = Annotated[
    bool, typer.Option("--cache/--no-cache", help="Serve the cached answer to the same question.")
]
SemanticOption = Annotated[
    bool,
    typer.Option(
        "--semantic-cache/--no-semantic-cache",
        help="Also to a close question, if a judge confirms that it wants the same answer.",
    ),
]
CacheJudgeOption = Annotated[
    str,
    typer.Option(
        "--cache-judge",
        help="That judge: a paraphrase cross-encoder's directory or hub id; none: the served model.",
    ),
]
CacheJudgeScoreOption = Annotated[
    float, typer.Option("--cache-judge-score", help="Least probability by which a cross-encoder confirms.")
]
GuardOption = Annotated[
    Path | None,
    typer.Option(
        envvar="RAG_GUARD_FILE", help="TOML file of checks before and after an answer.", show_default=False
    ),
]
CalibrationOption = Annotated[
    Path | None,
    typer.Option(envvar="RAG_CALIBRATION", help="Limits that `rag eval` measured.", show_default=False),
]

_DEFAULTS = p.DEFAULTS.answer


@dataclass(frozen=True)
class WritingOptions:
    """Who writes an answer, and how; all that `eval` lets one choose."""

    base_url: p.BaseUrlOption = _DEFAULTS.base_url
    api_key: p.ApiKeyOption = _DEFAULTS.api_key
    model: ServedModelOption = _DEFAULTS.model
    answer_mode: AnswerModeOption = _DEFAULTS.mode
    answer_languages: LanguagesOption = _DEFAULTS.answer_languages
    max_tokens: MaxTokensOption = _DEFAULTS.max_tokens

    def answer_config(self) -> AnswerConfig:
        """Gather how a question is answered.

        Raises:
            UsageError: there is no such mode.
        """
        return replace(
            _DEFAULTS,
            base_url=self.base_url,
            api_key=self.api_key,
            model=self.model,
            mode=p.choice("--mode", self.answer_mode, AnswerMode),
            answer_languages=self.answer_languages,
            max_tokens=self.max_tokens,
        )


@dataclass(frozen=True)
class AnsweringOptions(WritingOptions):
    """All that `ask`, `chat` and `serve` take to answer from the documents."""

    cache: CacheOption = _DEFAULTS.cache.enabled
    semantic_cache: SemanticOption = _DEFAULTS.cache.semantic
    cache_judge: CacheJudgeOption = _DEFAULTS.cache.judge
    cache_judge_score: CacheJudgeScoreOption = _DEFAULTS.cache.judge_min_score
    guard_file: GuardOption = _DEFAULTS.guard_file
    calibration: CalibrationOption = _DEFAULTS.calibration
    mode: p.ModeOption = p.DEFAULTS.retrieve.mode
    top_k: p.TopKOption = p.DEFAULTS.retrieve.top_k
    index_dir: p.IndexDirOption = p.DEFAULTS.index_dir
    embedding_model: p.ModelOption = p.DEFAULTS.embedding.model
    backend: p.BackendOption = p.DEFAULTS.embedding.backend

    def answer_config(self) -> AnswerConfig:
        """Gather how a question is answered, checked and cached.

        Raises:
            UsageError: there is no such mode, or nobody to judge for the semantic cache.
        """
        config = super().answer_config()
        if self.semantic_cache and not self.cache_judge and config.mode == "extract":
            raise UsageError(
                "--semantic-cache has no judge: with --mode extract no model is asked",
                mend="Name a paraphrase cross-encoder: --cache-judge",
            )
        return replace(
            config,
            cache=replace(
                _DEFAULTS.cache,
                enabled=self.cache,
                semantic=self.semantic_cache,
                judge=self.cache_judge,
                judge_min_score=self.cache_judge_score,
            ),
            guard_file=self.guard_file,
            calibration=self.calibration,
        )

    def config(self) -> RagConfig:
        """Gather all of it.

        Raises:
            UsageError: there is no such mode or backend.
        """
        retrieve = p.retrieve_config(self.mode, self.top_k)
        return p.rag_config(
            self.index_dir, self.embedding_model, self.backend, retrieve, self.answer_config()
        )
