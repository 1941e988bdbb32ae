"""`rag chat`: talk about the documents."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from core.console import console, emit_json
from rag.commands import parameters as p
from rag.commands.ask import answerer

if TYPE_CHECKING:
    from rag.answer import Answerer
    from rag.llm import Message


def chat(
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
    """Talk about the documents; ends on 종료 or Ctrl-D. With --json: a line in, an object out."""
    from rag.chat import run_chat

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
    if json_output:
        chat_in_json(answerer(config), sys.stdin)
    else:
        run_chat(answerer(config))


def chat_in_json(answerer: Answerer, lines: Iterable[str]) -> None:
    """Answer a question a line, each with the history of those before it; print an object a line.

    A question that fails is an object with `error`, and the conversation goes on.
    """
    from rag.answer import AnswerFailed
    from rag.chat import ENDINGS
    from rag.show import answer_dict, passages_dict
    from rag.text import normalise

    history: list[Message] = []
    for line in lines:
        question = normalise(line)
        if question in ENDINGS:
            return
        if not question:
            continue
        try:
            answer = answerer.answer(question, history=history)
        except AnswerFailed as error:
            console.print(str(error), style="red", markup=False)
            emit_json({"question": question, "error": str(error), "passages": passages_dict(error.passages)})
            continue
        emit_json(answer_dict(answer))
        history += [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer.text},
        ]
