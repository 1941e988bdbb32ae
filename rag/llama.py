"""LlamaIndex's face: a BaseRetriever over the same search, for its query engines and postprocessors.

retriever = RagRetriever(Searcher.open(RagConfig()))
engine = RetrieverQueryEngine.from_args(retriever, llm=OpenAILike(...))
"""

from __future__ import annotations

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from rag.config import RetrieveConfig
from rag.retrieve import Passage, Searcher


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
        },
    )
    return NodeWithScore(
        node=node, score=passage.similarity if passage.similarity is not None else passage.score
    )


class RagRetriever(BaseRetriever):
    """Dense, word or fused search as a LlamaIndex retriever."""

    def __init__(self, searcher: Searcher, options: RetrieveConfig | None = None) -> None:
        """`options` replace the searcher's own."""
        self._searcher, self._options = searcher, options
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [to_node(passage) for passage in self._searcher.search(query_bundle.query_str, self._options)]
