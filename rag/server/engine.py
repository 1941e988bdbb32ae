"""The one place where the server meets retrieval and answering; all of it blocks, so threads call it.

The engine keeps the searcher of the current generation. When another generation has been swapped in, by a
job of ours or by `rag index` beside us, it is loaded aside and then exchanged: questions in flight end on
the generation they began with.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import QuantserveError
from rag.answer import Answer, Answerer
from rag.chat import search_text
from rag.client import ModelServer
from rag.config import AnswerMode, RagConfig, RerankConfig, RetrieveConfig
from rag.embedding.backend import Embedder, load_embedder
from rag.errors import NoIndex
from rag.prompt import Message
from rag.retrieve import Passage, Searcher
from rag.retrieve.filters import Filters
from rag.retrieve.passage import Found
from rag.store.generation import CURRENT, Generation, IndexStore
from rag.store.manifest import MANIFEST

_SERVERS_KEPT = 16
_WARM_UP = "warm up 준비"


class Cancelled(Exception):
    """The one who asked has left."""


@dataclass(frozen=True)
class Asked:
    """One question with everything that was asked of its answer; None means the server's setting."""

    question: str
    retrieve: RetrieveConfig
    history: tuple[Message, ...] = ()
    system: str = ""
    mode: AnswerMode | None = None
    max_tokens: int | None = None
    temperature: float | None = None


@dataclass(frozen=True)
class Facts:
    """What an answer says of its cache and guardrails."""

    cached: str = ""
    guard: str = ""
    condensed_question: str = ""


def facts_of(answer: Answer) -> Facts:
    """Read the fields that an answer may have; an absent one is empty."""
    names = ("cached", "guard", "condensed_question")
    return Facts(*(str(getattr(answer, name, "") or "") for name in names))


class TunedSearcher(Searcher):
    """A searcher with the options of one question; remembers what it found, with seconds and notes."""

    def __init__(self, base: Searcher, options: RetrieveConfig) -> None:
        """Share everything of `base` but its options."""
        vars(self).update(vars(base))
        self._base = base
        self.config = replace(base.config, retrieve=options)
        self.found = Found()

    @property
    def embedder(self) -> Embedder:
        """The model that `base` holds."""
        return self._base.embedder

    def find(
        self, query: str, options: RetrieveConfig | None = None, filters: Filters | None = None
    ) -> Found:
        """Search and remember."""
        self.found = super().find(query, options, filters)
        return self.found


@dataclass(frozen=True)
class Answered:
    """An answer and the search behind it."""

    answer: Answer
    found: Found
    generation: str


class Engine:
    """Searches and answers; safe to use from many threads."""

    def __init__(self, config: RagConfig, load_model: Callable[[], Embedder] | None = None) -> None:
        """Nothing is loaded yet."""
        self.config = config
        self.store = IndexStore(Path(config.index_dir))
        self.problem = ""
        """Why the newest generation is not the one that answers; empty when it is."""
        self._load_model = load_model or (lambda: load_embedder(config.embedding))
        self._embedder: Embedder | None = None
        self._searcher: Searcher | None = None
        self._stamp: tuple[str, int, int] | None = None
        self._opening = threading.Lock()
        self._loading = threading.Lock()
        self._server = functools.lru_cache(_SERVERS_KEPT)(ModelServer)

    def embedder(self) -> Embedder:
        """The embedding model, loaded once for all generations."""
        with self._loading:
            if self._embedder is None:
                self._embedder = self._load_model()
            return self._embedder

    def _look(self) -> tuple[str, int, int] | None:
        try:
            manifest = (self.store.root / CURRENT).resolve() / MANIFEST
            status = manifest.stat()
        except OSError:
            return None
        return manifest.parent.name, status.st_ino, status.st_mtime_ns

    def searcher(self, *, wait: bool = False) -> Searcher:
        """Return the searcher of the current generation.

        While one thread loads a new generation the others go on with the one before, unless they `wait`.

        Raises:
            NoIndex: nothing is indexed.
            IndexMismatch: the index does not fit the embedding model, and there was none before it.
        """
        if self._look() != self._stamp and self._opening.acquire(blocking=wait or self._searcher is None):
            try:
                self._open()
            finally:
                self._opening.release()
        searcher = self._searcher
        if searcher is None:
            raise NoIndex(f"{self.store.root} holds no index", mend="Make one: python -m rag index PATH")
        return searcher

    def _open(self) -> None:
        stamp = self._look()
        if stamp == self._stamp:
            return
        if stamp is None:
            self._searcher, self._stamp, self.problem = None, None, ""
            return
        try:
            searcher = Searcher(self.store.open(), self.config, self.embedder)
            searcher.search(_WARM_UP, replace(self.config.retrieve, rerank=RerankConfig()))
        except QuantserveError as error:
            self.problem = str(error)
            if self._searcher is None:
                raise
            # What answered until now goes on answering; `problem` is shown by /readyz and in the log.
            self._stamp = stamp
            return
        self._searcher, self._stamp, self.problem = searcher, stamp, ""

    @property
    def loaded(self) -> Generation | None:
        """The generation that was last loaded; never waits."""
        return None if self._searcher is None else self._searcher.generation

    def generation(self) -> Generation | None:
        """The generation that answers; None while nothing is indexed."""
        try:
            return self.searcher().generation
        except NoIndex:
            return None

    def search(self, query: str, options: RetrieveConfig, filters: Filters | None = None) -> Found:
        """Search the current generation."""
        return self.searcher().find(query, options, filters)

    def check_model(self) -> str:
        """Ask the model server for the name of its model.

        Raises:
            ServerUnavailable: it does not answer.
        """
        return ModelServer(self.config.answer).describe().name

    def answer(
        self,
        asked: Asked,
        on_text: Callable[[str], None],
        on_passages: Callable[[Sequence[Passage]], None],
    ) -> Answered:
        """Answer one question; an exception raised by a sink ends it and closes the stream upstream.

        Raises:
            AnswerFailed: the model server failed; the passages are in it.
            NoIndex: nothing is indexed.
        """
        searcher = TunedSearcher(self.searcher(), asked.retrieve)
        config = self.config.answer
        if asked.mode is not None:
            config = replace(config, mode=asked.mode)
        if asked.max_tokens is not None:
            config = replace(config, max_tokens=asked.max_tokens)
        if asked.temperature is not None:
            config = replace(config, temperature=asked.temperature)
        answer = Answerer(searcher, self._server(replace(config, mode="auto")), config).answer(
            asked.question,
            on_text=on_text,
            on_passages=on_passages,
            history=asked.history,
            search_for=search_text(asked.question, list(asked.history)),
            system=asked.system,
        )
        return Answered(answer, searcher.found, searcher.generation.name)
