"""One question to one answer: guard, cache, search, decide, extract or generate, guard, cache."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from quantserve.rag.answer.asked import Asked, Passages, Sink
from quantserve.rag.answer.chitchat import Chitchat
from quantserve.rag.answer.conversation import condense, condense_by_rule
from quantserve.rag.answer.extract import Quote, best_sentences, quotes_text
from quantserve.rag.answer.generator import Generator
from quantserve.rag.answer.result import Answer, AnswerFailed, from_cached, to_cached
from quantserve.rag.answer.scope import index_identity, open_cache, scope_of
from quantserve.rag.answer.wording import BLOCKED, CHITCHAT, UNKNOWN
from quantserve.rag.cache import AnswerCache, Scope, judge_of
from quantserve.rag.cache.answers import Floats
from quantserve.rag.config import AnswerConfig
from quantserve.rag.errors import PromptTooLong, ServerUnavailable
from quantserve.rag.guardrails import Guardrails, Verdict, load_guardrails
from quantserve.rag.llm import Cancellation, Message, ModelServer, ServedModel
from quantserve.rag.llm.tokens import estimate_tokens
from quantserve.rag.retrieve import Searcher
from quantserve.rag.text import language_of, normalise, well_formed
from quantserve.rag.trust.calibration import Calibration, calibration_of
from quantserve.rag.trust.languages import answer_languages, is_weak
from quantserve.rag.trust.unknown import why_unknown

_BLOCKED = "a guard blocked it"


class Answerer:
    """Answers from one index through one server, for any number of threads at once."""

    def __init__(
        self,
        searcher: Searcher,
        server: ModelServer,
        config: AnswerConfig,
        *,
        cache: AnswerCache | None = None,
        guardrails: Guardrails | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        """Hold them; nothing is sent yet. What is not handed in is made as `config` says.

        A program that makes an answerer for each question reads guard file and calibration once and hands
        them in.

        Raises:
            InputError, UsageError: the guard file or the calibration cannot be used.
        """
        self._searcher, self._server, self._config = searcher, server, config
        self.cache = (cache or open_cache(searcher, config)) if config.cache.enabled else None
        self.guardrails = guardrails or Guardrails()
        if guardrails is None and config.guard_file is not None:
            self.guardrails = load_guardrails(config.guard_file, server, lambda: searcher.embedder)
        measured = calibration or calibration_of(replace(searcher.config, answer=config))
        self._limits = measured.find(searcher.generation, searcher.config.retrieve)
        self._generator = Generator(server, config, self.guardrails)

    def answer(
        self,
        question: str,
        *,
        on_text: Sink = lambda _: None,
        on_passages: Passages = lambda _: None,
        history: Sequence[Message] = (),
        search_for: str = "",
        system: str = "",
        cancellation: Cancellation | None = None,
        use_cache: bool = True,
    ) -> Answer:
        """Answer; `on_text` receives generated text as it passes the checks.

        `search_for` replaces the question in retrieval; without it a follow-up is condensed with the
        history. `cancellation` ends it from another thread. `use_cache` neither reads nor writes when False.

        Raises:
            AnswerFailed: the server was needed and failed; the passages are in it.
            Cancelled: by `cancellation`.
            QuestionTooLong: the question leaves no room for passages.
        """
        question = normalise(question)
        asked = Asked(
            question,
            language_of(question),
            tuple({**message, "content": well_formed(message["content"])} for message in history),
            "" if normalise(search_for) == question else normalise(search_for),
            well_formed(system),
            on_text,
            on_passages,
            cancellation or Cancellation(),
        )
        with asked.timed("guard"):
            verdict = self.guardrails.judge(question, "input")
        if verdict.blocked:
            return self._blocked(Answer(question, "", "", asked.language, (), seconds=asked.seconds), verdict)
        asked.question = verdict.text
        with asked.timed("chitchat"):
            asked.asks = self._without_chitchat(asked)
        if not asked.asks:
            return _with_verdict(self._chitchat(asked), verdict)
        return self._answer(asked, verdict, use_cache)

    def _without_chitchat(self, asked: Asked) -> str:
        """Return what a question asks without the greeting before it; empty for small talk alone."""
        if not self._config.chitchat or not asked.question:
            return asked.question or " "
        return self._searcher.on_generation(
            lambda generation: Chitchat(generation, self._searcher.embedder).without(
                asked.question, in_conversation=bool(asked.history)
            )
        )

    def _chitchat(self, asked: Asked) -> Answer:
        text = CHITCHAT[asked.language]
        return Answer(asked.question, text, "chitchat", asked.language, (), seconds=asked.seconds)

    def _answer(self, asked: Asked, before: Verdict, use_cache: bool) -> Answer:
        model, failure = self._describe()
        cache = self.cache if use_cache and failure is None else None
        if cache is None or self._config.temperature > 0.0 or not self.guardrails.identified:
            return _with_verdict(self._made(asked, model, failure), before)
        scope = scope_of(
            self._searcher,
            self._config,
            model,
            self._limits,
            self.guardrails.fingerprint,
            asked.system,
            asked.language,
        )
        with asked.timed("cache"):
            cached, kind = cache.exact(scope, asked.question, asked.context), "exact"
        vector: Floats | None = None
        judged: tuple[str, ...] = ()
        if cached is None and cache.config.semantic and not asked.context:
            cached, vector, judged = self._semantic(cache, scope, asked, model)
            kind = "semantic"
        if cached is not None:
            answer = self._from_cache(asked, from_cached(cached, asked.question), kind)
        else:
            cache.missed()
            answer = self._made(asked, model, failure)
            if self._may_be_cached(answer, asked, before, scope, model):
                # Other words may find what these did not: nobody else is told that there is no answer.
                vector = None if answer.mode == "unknown" else vector
                cache.put(scope, asked.question, to_cached(answer), vector, asked.context)
        return replace(_with_verdict(answer, before), judged=judged)

    def _semantic(
        self, cache: AnswerCache, scope: Scope, asked: Asked, model: ServedModel | None
    ) -> tuple[dict[str, Any] | None, Floats | None, tuple[str, ...]]:
        """Return a cached answer that a judge confirmed, the question's vector, and what was judged."""
        judge = judge_of(self._config, model)
        if judge is None:
            return None, None, ()
        with asked.timed("embed"):
            vector = self._searcher.embedder.embed_queries([asked.question])[0]
        with asked.timed("judge"):
            found = cache.semantic(scope, asked.question, vector, judge, asked.cancellation)
        return found.answer, vector, found.outcomes

    def _may_be_cached(
        self, answer: Answer, asked: Asked, before: Verdict, scope: Scope, model: ServedModel | None
    ) -> bool:
        """Whether an answer is whole, and was made by the model and from the index that its scope names."""
        return (
            answer.mode != "blocked"
            and not (answer.provisional or asked.provisional or before.unjudged)
            and index_identity(self._searcher.generation) == scope.index
            and self._describe()[0] == model
        )

    def _made(self, asked: Asked, model: ServedModel | None, failure: ServerUnavailable | None) -> Answer:
        """Answer without the cache."""
        searched = asked.search_for or self._condensed(asked, model)
        if searched == asked.question:
            searched = asked.asks.strip()
        with asked.timed("retrieve"):
            found = self._searcher.find(searched)
        for stage, spent in found.seconds.items():
            asked.seconds[stage] = asked.seconds.get(stage, 0.0) + spent
        asked.on_passages(found.passages)
        base = Answer(
            asked.question,
            "",
            "unknown",
            asked.language,
            found.passages,
            model=model.name if model else "",
            seconds=asked.seconds,
            condensed_question=searched if searched != asked.question else "",
            notes=found.notes,
            provisional=bool(found.notes),
        )
        # the rule puts an earlier question before this one: what that named is not asked about now
        joined = condense_by_rule(asked.question, asked.history)
        asks = asked.asks.strip() if searched == joined else searched
        why = self._searcher.on_generation(
            lambda generation: why_unknown(
                asks, found.passages, generation, self._limits, self._config.min_similarity
            )
        )
        if why:
            return replace(base, text=UNKNOWN[asked.language], reason=why)
        if self._config.mode == "extract":
            return self._extract(base, asked, "asked for")
        if model is None:
            cause = failure or ServerUnavailable("the model server was not asked")
            raise AnswerFailed(cause, found.passages) from failure
        if self._config.mode == "generate":
            return self._finished(self._generator.generate(base, asked, model))
        return self._auto(base, asked, model)

    def _auto(self, base: Answer, asked: Asked, model: ServedModel) -> Answer:
        """Generate where the model can be trusted with it; quote where it cannot, or turned out not to."""
        if asked.language not in answer_languages(model.name, self._config.answer_languages):
            return self._extract(base, asked, f"{model.name} does not write this language")
        if is_weak(model.name) and asked.language != "en":
            return self._extract(base, asked, f"{model.name} is too small to be trusted with this language")
        if is_weak(model.name):
            with asked.timed("extract"):
                quotes = self._quotes(base)
            made = self._generator.from_quotes(base, asked, model, quotes)
            if not made.mode:
                return self._extract(made, asked, made.reason, quotes)
            checked = self._guarded(made)
            if checked.mode == "generate":
                asked.on_text(checked.text)
            return checked
        try:
            made = self._generator.generate(base, asked, model)
        except AnswerFailed as error:
            if not isinstance(error.cause, PromptTooLong):
                raise
            return self._extract(base, asked, f"the passages do not fit {model.name}'s window")
        return self._finished(made) if made.mode else self._extract(made, asked, made.reason)

    def _finished(self, made: Answer) -> Answer:
        """Return a generation; one that a guard stopped says so, and one without text does."""
        if made.mode == "blocked":
            return replace(made, text=self._refusal(made.language), reason=_BLOCKED)
        return made if made.mode else replace(made, mode="unknown", text=UNKNOWN[made.language])

    def _describe(self) -> tuple[ServedModel | None, ServerUnavailable | None]:
        """Return the served model; the failure waits until it is known whether the model is needed."""
        if self._config.mode == "extract":
            return None, None
        try:
            return self._server.describe(), None
        except ServerUnavailable as error:
            return None, error

    def _condensed(self, asked: Asked, model: ServedModel | None) -> str:
        if not asked.history:
            return asked.question
        capable = (
            model is not None
            and not is_weak(model.name)
            and asked.language in answer_languages(model.name, self._config.answer_languages)
        )
        ask: Callable[[Sequence[Message], int], str] | None = None
        if capable:
            ask = functools.partial(self._server.complete, cancellation=asked.cancellation)
        count = estimate_tokens if model is None else self._server.tokens.of(model)
        with asked.timed("condense"):
            try:
                return condense(asked.question, asked.history, ask, self._config.history_tokens, count)
            except ServerUnavailable:
                # The answer itself needs the server next, and will say what is wrong with it.
                asked.provisional = True
                return condense_by_rule(asked.question, asked.history)

    def _quotes(self, base: Answer) -> list[Quote]:
        return best_sentences(
            base.condensed_question or base.question,
            base.passages,
            self._searcher.embedder,
            self._config.extract_sentences,
        )

    def _extract(
        self, base: Answer, asked: Asked, reason: str, quotes: Sequence[Quote] | None = None
    ) -> Answer:
        if quotes is None:
            with asked.timed("extract"):
                quotes = self._quotes(base)
        if not quotes:
            return replace(base, text=UNKNOWN[base.language], mode="unknown", reason="no sentence answers")
        cited = tuple(dict.fromkeys(quote.number for quote in quotes))
        return self._guarded(
            replace(base, text=quotes_text(quotes), mode="extract", cited=cited, reason=reason)
        )

    def _guarded(self, answer: Answer) -> Answer:
        """Judge a whole answer that was not streamed."""
        verdict = self.guardrails.judge(answer.text, "output", answer.question)
        if verdict.blocked:
            return self._blocked(answer, verdict)
        return replace(_with_verdict(answer, verdict), text=verdict.text)

    def _blocked(self, answer: Answer, verdict: Verdict) -> Answer:
        text = self._refusal(answer.language)
        return _with_verdict(replace(answer, text=text, mode="blocked", cited=(), reason=_BLOCKED), verdict)

    def _refusal(self, language: str) -> str:
        return self.guardrails.messages.get(language) or BLOCKED[language]

    def _from_cache(self, asked: Asked, answer: Answer, kind: str) -> Answer:
        asked.on_passages(answer.passages)
        if answer.mode == "generate":
            asked.on_text(answer.text)
        return replace(answer, cached=kind, seconds=asked.seconds)


def _with_verdict(answer: Answer, verdict: Verdict) -> Answer:
    """Add what a guard did to what is told of the answer."""
    return replace(
        answer,
        guard=", ".join(filter(None, (verdict.acted, answer.guard))),
        guard_reason="; ".join(filter(None, (verdict.reason, answer.guard_reason))),
        provisional=answer.provisional or verdict.unjudged,
    )
