"""One question to one answer with its sources.

In go a question, what was said before, and an index; out comes text whose citations point to passages, or
"I do not know". While it is generated it is checked piece by piece: citations, language, guardrails.
"""

from quantserve.rag.answer.answerer import Answerer
from quantserve.rag.answer.result import Answer, AnswerFailed

__all__ = ["Answer", "AnswerFailed", "Answerer"]
