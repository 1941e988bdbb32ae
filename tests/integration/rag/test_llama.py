"""Every mode as a LlamaIndex retriever and query engine, with its postprocessors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.vector_stores import FilterOperator, MetadataFilter, MetadataFilters
from llama_index.llms.openai_like import OpenAILike

from quantserve.rag.config import RagConfig, RetrieveConfig, RetrieveMode
from quantserve.rag.embedding.backend import Embedder
from quantserve.rag.ingest import index_paths
from quantserve.rag.retrieve import Searcher
from quantserve.rag.retrieve.llama import as_query_engine, as_retriever
from tests.fakes.openai_server import Behaviour, FakeServer

BULBS = "Where are the spare bulbs?"
MODES: tuple[RetrieveMode, ...] = get_args(RetrieveMode)


@pytest.fixture
def searcher(stored: RagConfig, documents: Path, embedder: Embedder) -> Searcher:
    index_paths([documents], stored, load_model=lambda: embedder)
    opened = Searcher.open(stored)
    opened._load_model = lambda: embedder
    return opened


def options(mode: RetrieveMode, **changes: object) -> RetrieveConfig:
    return replace(RetrieveConfig(mode=mode), **changes)  # type: ignore[arg-type]


def test_every_mode_is_a_retriever_with_filters_and_a_cut_off(searcher: Searcher) -> None:
    pages = MetadataFilters(
        filters=[MetadataFilter(key="file", value=".pdf", operator=FilterOperator.TEXT_MATCH)]
    )
    for mode in MODES:
        nodes = as_retriever(searcher, options(mode, top_k=3)).retrieve(BULBS)
        assert (nodes[0].metadata["page"], len(nodes) <= 3) == (2, True), mode
        limited = as_retriever(searcher, options(mode, top_k=50), pages).retrieve("발전기 bulbs lamp")
        assert limited, mode
        assert {Path(node.metadata["file"]).suffix for node in limited} == {".pdf"}, mode
        if mode != "bm25":  # its nodes have a BM25 score and no cosine
            cut = SimilarityPostprocessor(similarity_cutoff=0.7).postprocess_nodes(nodes)
            assert [node.node_id for node in cut] == [node.node_id for node in nodes], mode
            assert SimilarityPostprocessor(similarity_cutoff=0.99).postprocess_nodes(nodes) == [], mode


def test_modes_that_have_their_own_options(searcher: Searcher) -> None:
    varied = as_retriever(searcher, options("dense", top_k=3, mmr=0.5)).retrieve(BULBS)
    plain = as_retriever(searcher, options("dense", top_k=3)).retrieve(BULBS)
    assert varied[0].node_id == plain[0].node_id
    assert as_retriever(searcher, options("dense", min_score=0.999)).retrieve(BULBS) == []
    assert len(as_retriever(searcher, options("hybrid", top_k=1)).retrieve(BULBS)) == 1


def test_a_query_engine_answers_from_what_passes_the_cut_off(searcher: Searcher) -> None:
    with FakeServer(Behaviour(model="m", answer="In the cellar.")) as server:
        llm = OpenAILike(
            model="m", api_base=server.base_url, api_key="x", is_chat_model=True, context_window=4096
        )
        for mode in MODES:
            engine = as_query_engine(
                searcher,
                llm,
                options=options(mode, top_k=2),
                similarity_cutoff=None if mode == "bm25" else 0.7,
            )
            answer = engine.query(BULBS)
            assert str(answer) == "In the cellar.", mode
            assert answer.source_nodes[0].metadata["page"] == 2, mode
        seen = len(server.chats)
        nothing = as_query_engine(searcher, llm, similarity_cutoff=0.999).query(BULBS)
        assert nothing.source_nodes == []
        assert len(server.chats) == seen


def test_more_than_there_is_and_questions_without_words(searcher: Searcher) -> None:
    chunks = searcher.generation.manifest.chunks
    for mode in MODES:
        assert len(searcher.search(BULBS, options(mode, top_k=10_000, candidates=10_000))) <= chunks
        assert searcher.search("   ", options(mode)) == []
    for empty in ("the of and", "그 저 이 것", "?!…", "zzzqqq"):
        assert searcher.search(empty, options("bm25")) == []
        # Nothing shares a word; the meaning still orders the passages.
        found = searcher.search(empty, options("hybrid", top_k=3))
        assert [p.chunk.id for p in found] == [
            p.chunk.id for p in searcher.search(empty, options("dense", top_k=3))
        ]
