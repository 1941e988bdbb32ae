"""LlamaIndex's face: a BaseRetriever over the same search, for its query engines and postprocessors.

retriever = as_retriever(searcher)
engine = as_query_engine(searcher, llm=OpenAILike(...), similarity_cutoff=0.7)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.llms import LLM
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.vector_stores import FilterCondition, MetadataFilter, MetadataFilters

from quantserve.core.errors import UsageError
from quantserve.rag.config import RetrieveConfig
from quantserve.rag.retrieve.filters import Condition, Filters
from quantserve.rag.retrieve.passage import Passage
from quantserve.rag.retrieve.searcher import Searcher


def to_node(passage: Passage) -> NodeWithScore:
    """Return a passage as LlamaIndex has it.

    The score is the cosine where there is one, so that a similarity cut-off means what it says;
    the order is the search's.
    """
    chunk = passage.chunk
    node = TextNode(
        id_=chunk.id,
        text=chunk.text,
        start_char_idx=chunk.start,
        end_char_idx=chunk.end,
        metadata={
            "file": chunk.file,
            "page": chunk.page,
            "heading": chunk.heading,
            "score": passage.score,
            "bm25": passage.bm25,
            "rerank": passage.rerank,
        },
    )
    return NodeWithScore(
        node=node, score=passage.similarity if passage.similarity is not None else passage.score
    )


def to_filters(filters: MetadataFilters) -> Filters:
    """Return LlamaIndex's filters as ours.

    Raises:
        UsageError: an operator or a condition that this search does not have.
    """
    if filters.condition == FilterCondition.NOT:
        raise UsageError("the condition 'not' is not supported", mend="Use != or nin")
    return Filters(
        tuple(
            _condition(part) if isinstance(part, MetadataFilter) else to_filters(part)
            for part in filters.filters
        ),
        "or" if filters.condition == FilterCondition.OR else "and",
    )


def _condition(part: MetadataFilter) -> Condition:
    key: Any = part.key
    operator: Any = {"text_match": "contains", "text_match_insensitive": "contains"}.get(
        part.operator.value, part.operator.value
    )
    value: Any = tuple(part.value) if isinstance(part.value, list) else part.value
    return Condition(key, value, operator)


class RagRetriever(BaseRetriever):
    """Every mode of the search as a LlamaIndex retriever."""

    def __init__(
        self,
        searcher: Searcher,
        options: RetrieveConfig | None = None,
        filters: MetadataFilters | None = None,
    ) -> None:
        """`options` replace the searcher's own; `filters` are LlamaIndex's."""
        self._searcher, self._options = searcher, options
        self._filters = None if filters is None else to_filters(filters)
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        found = self._searcher.search(query_bundle.query_str, self._options, self._filters)
        return [to_node(passage) for passage in found]


def as_retriever(
    searcher: Searcher, options: RetrieveConfig | None = None, filters: MetadataFilters | None = None
) -> RagRetriever:
    """Return the search as a LlamaIndex retriever."""
    return RagRetriever(searcher, options, filters)


def as_query_engine(
    searcher: Searcher,
    llm: LLM,
    *,
    options: RetrieveConfig | None = None,
    filters: MetadataFilters | None = None,
    similarity_cutoff: float | None = None,
    postprocessors: Sequence[BaseNodePostprocessor] = (),
) -> RetrieverQueryEngine:
    """Return a LlamaIndex query engine over the search, after a cosine cut-off and other postprocessors."""
    steps: list[BaseNodePostprocessor] = list(postprocessors)
    if similarity_cutoff is not None:
        steps.insert(0, SimilarityPostprocessor(similarity_cutoff=similarity_cutoff))
    retriever = as_retriever(searcher, options, filters)
    return RetrieverQueryEngine.from_args(retriever, llm=llm, node_postprocessors=steps)
