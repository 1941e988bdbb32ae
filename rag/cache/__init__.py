"""Answers that were given before: served again for the same question, or one that says the same.

In go a question and everything else an answer depends on (index generation, model, prompt, settings); out
comes a kept answer, or none. Closeness of meaning only proposes; the words of both questions decide.
"""

from quantserve.rag.cache.answers import AnswerCache, CacheStats, Scope
from quantserve.rag.cache.same import same_question

__all__ = ["AnswerCache", "CacheStats", "Scope", "same_question"]
