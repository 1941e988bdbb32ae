"""One question to one answer with its sources."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from rag.citations import check_citations
from rag.client import ModelServer, PromptTooLong, StreamFacts
from rag.config import AnswerConfig
from rag.errors import ServerUnavailable
from rag.extract import Quote, best_sentences
from rag.languages import answer_languages, is_in_language, is_weak
from rag.prompt import UNKNOWN, Message, build_prompt, build_short_prompt
from rag.retrieve import Passage, Searcher
from rag.text import language_of, normalise
from rag.trust import MIN_SUPPORT, repeats_itself, support

Sink = Callable[[str], None]
_SAFETY_TOKENS = 64
_CITED_SENTENCES = 1


@dataclass(frozen=True)
class Answer:
    """An answer. `mode` is generate, extract or unknown; `reason` says why it was not generated.

    `cited` are passage numbers from 1. `attributed` is True when the model cited nothing and the
    citation was found by comparing its answer with the passages.
    """

    question: str
    text: str
    mode: str
    language: str
    passages: tuple[Passage, ...]
    cited: tuple[int, ...] = ()
    invented_citations: int = 0
    attributed: bool = False
    reason: str = ""
    model: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class AnswerFailed(ServerUnavailable):
    """The server failed; the passages that were found are here."""

    def __init__(self, cause: ServerUnavailable, passages: tuple[Passage, ...], partial: str = "") -> None:
        """Keep the cause's message; `partial` is what had arrived."""
        super().__init__(cause.problem, mend=cause.mend)
        self.passages = passages
        self.partial = partial


def is_unknown(passages: Sequence[Passage], min_similarity: float) -> bool:
    """Whether nothing that was found can hold the answer: no passage is close in meaning."""
    similarities = [passage.similarity for passage in passages if passage.similarity is not None]
    return not passages or (bool(similarities) and max(similarities) < min_similarity)


def quotes_text(quotes: Sequence[Quote]) -> str:
    """Write quotes with their citations, one a line."""
    return "\n".join(f"{quote.text} [{quote.number}]" for quote in quotes)


class Answerer:
    """Answers from one index through one server."""

    def __init__(self, searcher: Searcher, server: ModelServer, config: AnswerConfig) -> None:
        """Hold the three; nothing is loaded or sent yet."""
        self._searcher, self._server, self._config = searcher, server, config

    def answer(
        self,
        question: str,
        *,
        on_text: Sink = lambda _: None,
        on_passages: Callable[[Sequence[Passage]], None] = lambda _: None,
        history: Sequence[Message] = (),
        search_for: str = "",
        system: str = "",
    ) -> Answer:
        """Answer; `on_text` receives generated text as it comes.

        `search_for` replaces the question in retrieval, where a follow-up needs its context.

        Raises:
            AnswerFailed: the server was needed and failed.
        """
        started = time.perf_counter()
        question = normalise(question)
        language = language_of(question)
        passages = tuple(self._searcher.search(search_for or question))
        on_passages(passages)
        seconds = {"retrieve": time.perf_counter() - started}
        base = Answer(question, "", "unknown", language, passages, seconds=seconds)
        if is_unknown(passages, self._config.min_similarity):
            return replace(base, text=UNKNOWN[language], reason="no passage is close to the question")
        if self._config.mode == "extract":
            return self._extract(base, "asked for")
        try:
            model = self._server.describe()
        except ServerUnavailable as error:
            raise AnswerFailed(error, passages) from error
        base = replace(base, model=model.name)
        languages = answer_languages(model.name, self._config.answer_languages)
        if self._config.mode == "auto" and language not in languages:
            return self._extract(base, f"{model.name} does not write this language")
        if self._config.mode == "auto" and is_weak(model.name):
            return self._generate_from_quotes(base, on_text)
        generated = self._generate(base, model.window_tokens, on_text, history, system)
        if self._config.mode == "auto" and not is_in_language(generated.text, language):
            return self._extract(base, f"{model.name} answered in another language")
        if self._config.mode == "auto" and not generated.text:
            return self._extract(base, f"{model.name} gave no answer")
        if self._config.mode == "auto" and repeats_itself(generated.text):
            return self._extract(base, f"{model.name} repeated itself")
        return generated

    def _extract(self, base: Answer, reason: str, quotes: Sequence[Quote] | None = None) -> Answer:
        started = time.perf_counter()
        quotes = self._quotes(base) if quotes is None else quotes
        seconds = {**base.seconds, "extract": time.perf_counter() - started}
        cited = tuple(dict.fromkeys(quote.number for quote in quotes))
        return replace(
            base, text=quotes_text(quotes), mode="extract", cited=cited, reason=reason, seconds=seconds
        )

    def _generate_from_quotes(self, base: Answer, on_text: Sink) -> Answer:
        """Have a weak model put the best sentences into one; unless it keeps to them, quote them."""
        started = time.perf_counter()
        quotes = self._quotes(base)
        base = replace(base, seconds={**base.seconds, "extract": time.perf_counter() - started})
        facts = StreamFacts()
        text = ""
        try:
            for piece in self._server.stream(
                build_short_prompt(base.question, [quote.text for quote in quotes]), facts
            ):
                text += piece
                if repeats_itself(text):
                    break
        except ServerUnavailable as error:
            raise AnswerFailed(error, base.passages, text) from error
        text = check_citations(text, 0).text
        seconds = {**base.seconds, "generate": facts.seconds or 0.0, "ttft": facts.ttft_s or 0.0}
        sources = [base.question, *(quote.text for quote in quotes)]
        finished = facts.finish_reason == "stop"
        if not finished or support(text, sources) < MIN_SUPPORT:
            extracted = self._extract(base, f"{base.model} did not keep to the passages", quotes)
            return replace(extracted, seconds=seconds, completion_tokens=facts.completion_tokens)
        cited = (quotes[0].number,)
        shown = f"{text} [{cited[0]}]"
        on_text(shown)
        return replace(
            base,
            text=shown,
            mode="generate",
            cited=cited,
            attributed=True,
            seconds=seconds,
            prompt_tokens=facts.prompt_tokens,
            completion_tokens=facts.completion_tokens,
        )

    def _quotes(self, base: Answer) -> list[Quote]:
        return best_sentences(
            base.question, base.passages, self._searcher.embedder, self._config.extract_sentences
        )

    def _generate(
        self, base: Answer, window: int, on_text: Sink, history: Sequence[Message], system: str
    ) -> Answer:
        budget = min(self._config.context_tokens, window - self._config.max_tokens - _SAFETY_TOKENS)
        text = ""
        facts = StreamFacts()
        while True:
            prompt = build_prompt(base.question, base.passages, base.language, budget, history, system)
            try:
                for piece in self._server.stream(prompt.messages, facts):
                    text += piece
                    on_text(piece)
                    if self._config.mode == "auto" and piece.endswith((".", "\n")) and repeats_itself(text):
                        break  # closing the stream ends the generation upstream
                break
            except PromptTooLong as error:
                # The estimate was short of what this tokenizer takes: half as much fits in the end.
                budget //= 2
                if budget < _SAFETY_TOKENS:
                    raise AnswerFailed(error, base.passages) from error
            except ServerUnavailable as error:
                raise AnswerFailed(error, base.passages, text) from error
        checked = check_citations(text, len(prompt.passages))
        cited, attributed, final = checked.cited, False, checked.text
        if final and not cited:
            number = self._attribute(final, prompt.passages)
            if number:
                cited, attributed, final = (number,), True, f"{final} [{number}]"
        seconds = {**base.seconds, "generate": facts.seconds or 0.0}
        if facts.ttft_s is not None:
            seconds["ttft"] = facts.ttft_s
        return replace(
            base,
            text=final,
            mode="generate",
            cited=cited,
            invented_citations=checked.invented,
            attributed=attributed,
            seconds=seconds,
            prompt_tokens=facts.prompt_tokens,
            completion_tokens=facts.completion_tokens,
        )

    def _attribute(self, text: str, passages: Sequence[Passage]) -> int:
        """Return the number of the passage an uncited answer is closest to; 0 when there is none."""
        quotes = best_sentences(text, passages, self._searcher.embedder, _CITED_SENTENCES)
        return quotes[0].number if quotes else 0
