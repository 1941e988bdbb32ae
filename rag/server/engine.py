"""The one place where the server meets retrieval and answering; all of it blocks, so threads call it.

The engine keeps the searcher of the current generation. When another generation has been swapped in, by a
job of ours, by `rag index` beside us or on another machine, it is loaded aside and then exchanged: questions
in flight end on the generation they began with.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from quantserve.core.errors import QuantserveError
from quantserve.rag.answer import Answer, Answerer
from quantserve.rag.answer.chitchat import Chitchat
from quantserve.rag.config import AnswerMode, EmbeddingConfig, RagConfig, RerankConfig, RetrieveConfig
from quantserve.rag.embedding.backend import Embedder, load_embedder, resolve
from quantserve.rag.errors import IndexMismatch, NoIndex, StoreUnavailable
from quantserve.rag.guardrails import Guardrails, load_guardrails
from quantserve.rag.llm import Cancellation, Message, ModelServer
from quantserve.rag.retrieve import Passage, Searcher
from quantserve.rag.retrieve.filters import Filters
from quantserve.rag.retrieve.passage import Found
from quantserve.rag.store.base import Index, open_store
from quantserve.rag.trust.calibration import calibration_of

_WARM_UP = "warm up 준비"
Result = TypeVar("Result")


@dataclass(frozen=True)
class AnswerRequest:
    """One question with everything that was asked of its answer; None means the server's setting."""

    question: str
    retrieve: RetrieveConfig
    history: tuple[Message, ...] = ()
    system: str = ""
    mode: AnswerMode | None = None
    max_tokens: int | None = None
    temperature: float | None = None


@dataclass(frozen=True)
class ServedAnswer:
    """An answer, and the generation it was found in."""

    answer: Answer
    generation: str


class AnswerEngine:
    """Searches and answers; safe to use from many threads."""

    def __init__(
        self, config: RagConfig, load_model: Callable[[EmbeddingConfig], Embedder] = load_embedder
    ) -> None:
        """Read guard file and calibration, once for the process; nothing heavy is loaded yet.

        Raises:
            InputError, UsageError: the guard file, the calibration or the store's address cannot be used.
        """
        self.config = config
        self.store = open_store(config)
        self.problem = ""
        """Why the newest generation is not the one that answers; empty when it is."""
        self._load_model = load_model
        self._model: tuple[EmbeddingConfig, Embedder] | None = None
        self._searcher: Searcher | None = None
        self._stamp = ""
        self._opening = threading.Lock()
        self._loading = threading.Lock()
        self._server = ModelServer(config.answer)
        self._calibration = calibration_of(config)
        guard_file = config.answer.guard_file
        self._guardrails = (
            Guardrails() if guard_file is None else load_guardrails(guard_file, self._server, self._in_use)
        )

    def load_model(self) -> None:
        """Load the model that the next index would be made with, so that it is there when there is one."""
        self._embedder(resolve(self.config.embedding))

    def _embedder(self, config: EmbeddingConfig) -> Embedder:
        """Return the embedding model, loaded once for all generations of its precision."""
        with self._loading:
            if self._model is None or self._model[0] != config:
                self._model = (config, self._load_model(config))
            return self._model[1]

    def _in_use(self) -> Embedder:
        return (self._searcher or self.searcher()).embedder

    def searcher(self, *, wait: bool = False) -> Searcher:
        """Return the searcher of the current generation.

        While one thread loads a new generation the others go on with the one before, unless they `wait`.

        Raises:
            NoIndex: nothing is indexed.
            IndexMismatch: the index does not fit the embedding model, and there was none before it.
            StoreUnavailable: the shared store does not answer.
        """
        if self.store.stamp() != self._stamp and self._opening.acquire(
            blocking=wait or self._searcher is None
        ):
            try:
                self._open()
            finally:
                self._opening.release()
        searcher = self._searcher
        if searcher is None:
            raise NoIndex(f"{self.store} holds no index", mend="Make one: quantserve rag index PATH")
        return searcher

    def _open(self) -> None:
        stamp = self.store.stamp()
        if stamp == self._stamp:
            return
        if not stamp:
            self._searcher, self._stamp, self.problem = None, "", ""
            return
        try:
            generation = self.store.open()
            made_with = generation.manifest.settings.embedding_fingerprint
            embedding = resolve(self.config.embedding, made_with)
            config = replace(self.config, embedding=embedding)
            searcher = Searcher(generation, config, lambda: self._embedder(embedding))
            searcher.search(_WARM_UP, replace(self.config.retrieve, rerank=RerankConfig()))
            if self.config.answer.chitchat:
                Chitchat(generation, searcher.embedder).prepare()
        except QuantserveError as error:
            self.problem = str(error)
            if self._searcher is None:
                raise
            # What answered until now goes on answering; `problem` is shown by /readyz and in the log. A
            # store that is away comes back, so it is asked again; an index that does not fit stays so.
            if not isinstance(error, StoreUnavailable):
                self._stamp = stamp
            return
        self._searcher, self._stamp, self.problem = searcher, stamp, ""

    @property
    def loaded(self) -> Index | None:
        """The generation that was last loaded; never waits."""
        return None if self._searcher is None else self._searcher.generation

    def generation(self) -> Index | None:
        """The generation that answers; None while nothing is indexed."""
        try:
            return self.searcher().generation
        except NoIndex:
            return None

    def search(self, query: str, options: RetrieveConfig, filters: Filters | None = None) -> Found:
        """Search the current generation."""
        return self.with_searcher(lambda searcher: searcher.find(query, options, filters))

    def with_searcher(
        self, work: Callable[[Searcher], Result], again: Callable[[], bool] = lambda: True
    ) -> Result:
        """Do `work`; once more where its generation has meanwhile been replaced twice and is gone."""
        searcher = self.searcher()
        try:
            return work(searcher)
        except IndexMismatch:
            newer = self.searcher(wait=True)
            if newer is searcher or not again():
                raise
            return work(newer)

    def check_model(self) -> str:
        """Ask the model server for the name of its model.

        Raises:
            ServerUnavailable: it does not answer.
        """
        return self._server.describe().name

    def answer(
        self,
        asked: AnswerRequest,
        on_text: Callable[[str], None],
        on_passages: Callable[[Sequence[Passage]], None],
        cancellation: Cancellation,
    ) -> ServedAnswer:
        """Answer one question; `cancellation` ends it from another thread, a generation at once.

        Raises:
            AnswerFailed: the model server failed; the passages are in it.
            Cancelled: by `cancellation`.
            NoIndex: nothing is indexed.
        """
        config = self.config.answer
        if asked.mode is not None:
            config = replace(config, mode=asked.mode)
        if asked.max_tokens is not None:
            config = replace(config, max_tokens=asked.max_tokens)
        if asked.temperature is not None:
            config = replace(config, temperature=asked.temperature)
        has_told = False

        def tell_passages(passages: Sequence[Passage]) -> None:
            nonlocal has_told
            has_told = True
            on_passages(passages)

        def work(base: Searcher) -> ServedAnswer:
            searcher = base.with_options(asked.retrieve)
            answerer = Answerer(
                searcher,
                self._server,
                config,
                guardrails=self._guardrails,
                calibration=self._calibration,
            )
            answer = answerer.answer(
                asked.question,
                on_text=on_text,
                on_passages=tell_passages,
                history=asked.history,
                system=asked.system,
                cancellation=cancellation,
            )
            return ServedAnswer(answer, searcher.generation.name)

        return self.with_searcher(work, lambda: not has_told)
