"""Find passages: dense, by words, or both fused; filtered, made diverse, reranked.

In goes a question; out come passages with every score they have, the seconds of each stage, and
notes on what was left out (a reranker that ran out of time). LlamaIndex's face is rag.retrieve.llama.
"""

from quantserve.rag.retrieve.filters import Condition, Filters
from quantserve.rag.retrieve.passage import Found, Passage
from quantserve.rag.retrieve.searcher import Searcher

__all__ = ["Condition", "Filters", "Found", "Passage", "Searcher"]
