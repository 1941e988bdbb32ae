"""Cached answers: served again for the same question, or, where that is switched on, for one like it.

In go a question and everything else an answer depends on (index generation, model, prompt, settings); out
comes a cached answer, or none. Closeness of meaning only proposes; a judge that has proved itself confirms.
"""

from quantserve.rag.cache.answers import AnswerCache, CacheStats, Scope
from quantserve.rag.cache.judge import judge_of

__all__ = ["AnswerCache", "CacheStats", "Scope", "judge_of"]
