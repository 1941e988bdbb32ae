"""`rag search`: find passages, without asking a model."""

from __future__ import annotations

from quantserve.core.console import emit_json
from quantserve.rag.commands import parameters as p


def search(
    query: str,
    mode: p.ModeOption = p.DEFAULTS.retrieve.mode,
    top_k: p.TopKOption = p.DEFAULTS.retrieve.top_k,
    index_dir: p.IndexDirOption = p.DEFAULTS.index_dir,
    embedding_model: p.ModelOption = p.DEFAULTS.embedding.model,
    backend: p.BackendOption = p.DEFAULTS.embedding.backend,
    json_output: p.JsonOption = False,
) -> None:
    """Find passages, without asking a model."""
    from quantserve.rag.retrieve import Searcher
    from quantserve.rag.show import passages_dict, passages_table

    config = p.rag_config(index_dir, embedding_model, backend, p.retrieve_config(mode, top_k))
    searcher = Searcher.open(config)
    passages = searcher.search(query)
    passages_table(passages)
    if json_output:
        emit_json(
            {
                "query": query,
                "mode": mode,
                "generation": searcher.generation.name,
                "passages": passages_dict(passages),
            }
        )
