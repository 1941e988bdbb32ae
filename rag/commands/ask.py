"""`rag ask`: answer one question from the documents."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from core.console import console, emit_json
from rag.commands import parameters as p
from rag.config import RagConfig

if TYPE_CHECKING:
    from rag.answer import Answerer, AnswerFailed


def answerer(config: RagConfig) -> Answerer:
    """Put the search and the model server together."""
    from rag.answer import Answerer
    from rag.llm import ModelServer
    from rag.retrieve import Searcher

    return Answerer(Searcher.open(config), ModelServer(config.answer), config.answer)


def _show_failure(error: AnswerFailed) -> None:
    from rag.show import passages_table

    if error.partial:
        sys.stdout.write("\n")
    if error.passages:
        console.print("The model gave no whole answer; these passages were found:")
        passages_table(error.passages)


def ask(
    question: str,
    base_url: p.BaseUrlOption = p.DEFAULTS.answer.base_url,
    api_key: p.ApiKeyOption = p.DEFAULTS.answer.api_key,
    model: p.ServedModelOption = p.DEFAULTS.answer.model,
    answer_mode: p.AnswerModeOption = p.DEFAULTS.answer.mode,
    answer_languages: p.LanguagesOption = p.DEFAULTS.answer.answer_languages,
    max_tokens: p.MaxTokensOption = p.DEFAULTS.answer.max_tokens,
    cache: p.CacheOption = p.DEFAULTS.answer.cache.enabled,
    semantic_cache: p.SemanticOption = p.DEFAULTS.answer.cache.semantic,
    guard_file: p.GuardOption = p.DEFAULTS.answer.guard_file,
    calibration: p.CalibrationOption = p.DEFAULTS.answer.calibration,
    mode: p.ModeOption = p.DEFAULTS.retrieve.mode,
    top_k: p.TopKOption = p.DEFAULTS.retrieve.top_k,
    index_dir: p.IndexDirOption = p.DEFAULTS.index_dir,
    embedding_model: p.ModelOption = p.DEFAULTS.embedding.model,
    backend: p.BackendOption = p.DEFAULTS.embedding.backend,
    json_output: p.JsonOption = False,
) -> None:
    """Answer a question from the documents, and show the passages it rests on."""
    from rag.answer import AnswerFailed
    from rag.show import answer_dict, note_on, passages_dict, passages_table

    config = p.rag_config(
        index_dir,
        embedding_model,
        backend,
        p.retrieve_config(mode, top_k),
        p.answer_config(
            base_url,
            api_key,
            model,
            answer_mode,
            answer_languages,
            max_tokens,
            cache,
            semantic_cache,
            guard_file,
            calibration,
        ),
    )
    try:
        answer = answerer(config).answer(question)
    except AnswerFailed as error:
        _show_failure(error)
        if json_output:
            emit_json({"question": question, "error": str(error), "passages": passages_dict(error.passages)})
        raise
    if not json_output:
        typer.echo(answer.text)
    if note := note_on(answer):
        console.print(note, style="dim", markup=False)
    passages_table(answer.passages, answer.cited)
    if json_output:
        emit_json(answer_dict(answer))
