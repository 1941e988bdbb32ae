"""`rag chat`: talk about the documents."""

from __future__ import annotations

from rag.commands import parameters as p
from rag.commands.ask import answerer


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
) -> None:
    """Talk about the documents; ends on 종료 or Ctrl-D."""
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
    run_chat(answerer(config))
