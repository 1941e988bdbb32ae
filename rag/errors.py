"""Everything retrieval can fail with.

QuantserveError
├── RagError
│   ├── NoIndex              nothing has been indexed yet
│   ├── IndexMismatch        the index was made with another embedding model or format
│   │   └── IndexReplaced    the generation that was open has been replaced by newer ones and is gone
│   ├── StoreUnavailable     the shared store does not answer, or refused
│   ├── RerankFailed         the reranker failed or ran out of time; the order from before stands
│   ├── ServerUnavailable    the OpenAI-compatible server does not answer, or stopped answering
│   │   └── PromptTooLong    it refused the prompt for its length
│   ├── GuardFailed          a check could not judge
│   ├── JudgeFailed          the semantic cache's judge gives no verdict: there is no hit
│   │   ├── JudgeUnclear     it answered neither yes nor no
│   │   └── JudgeUnusable    it cannot be loaded, or is no model for pairs
│   └── Cancelled            whoever asked has left
├── InputError
│   ├── UnreadableDocument   one document gives no text; indexing goes on without it
│   │   ├── PageRefused      a web page that may not be read (host, address, size, kind)
│   │   ├── PageGone         a web page that its server says is not there
│   │   └── PageUnavailable  a web page that cannot be had now
│   └── EmbeddingModelError  the embedding model's directory or package cannot be used
└── UsageError
    └── QuestionTooLong      a question that leaves no room for passages
"""

from __future__ import annotations

from quantserve.core.errors import InputError, QuantserveError, UsageError


class RagError(QuantserveError):
    """Root of what goes wrong while retrieving or answering."""


class NoIndex(RagError):
    """There is no index to search."""


class IndexMismatch(RagError):
    """The index and the query do not belong together."""


class IndexReplaced(IndexMismatch):
    """The generation that was open has been replaced by newer ones and its files are gone."""


class StoreUnavailable(RagError):
    """The shared store cannot be reached or used."""


class ServerUnavailable(RagError):
    """The model server cannot be reached, refused the request, or broke off."""


class PromptTooLong(ServerUnavailable):
    """The server refused the prompt for its length."""


class GuardFailed(RagError):
    """A check before or after an answer could not judge; the guard file says whether that blocks."""


class JudgeFailed(RagError):
    """The judge of the semantic cache did not answer; the question counts as not cached."""


class JudgeUnclear(JudgeFailed):
    """The judge answered neither yes nor no."""


class JudgeUnusable(JudgeFailed):
    """The judge cannot be loaded, or does not score pairs."""


class Cancelled(RagError):
    """The answer is no longer wanted; generation was stopped upstream."""


class QuestionTooLong(UsageError):
    """The question takes the room that passages need."""


class RerankFailed(RagError):
    """There are no scores of the reranker; the search goes on without them and says so."""


class UnreadableDocument(InputError):
    """A document holds no text that can be read."""


class PageRefused(UnreadableDocument):
    """A web page lies outside what may be read."""


class PageGone(UnreadableDocument):
    """A web page does not exist, or no longer."""


class PageUnavailable(UnreadableDocument):
    """A web page cannot be had now; what the index holds of it stays."""


class EmbeddingModelError(InputError):
    """The embedding model cannot be unpacked or loaded."""
