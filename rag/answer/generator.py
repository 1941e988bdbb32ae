"""Have the model write: from passages by the rules, or, where it is too small for rules, from quotes."""

from __future__ import annotations

from collections import abc
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

from rag.answer.asked import Asked
from rag.answer.citations import check_citations
from rag.answer.extract import Quote, best_sentences
from rag.answer.prompt import Prompt, build_prompt, build_short_prompt
from rag.answer.result import Answer, AnswerFailed
from rag.answer.streaming import CheckedStream
from rag.config import AnswerConfig
from rag.embedding.backend import Embedder
from rag.errors import PromptTooLong, ServerUnavailable
from rag.guardrails import Guardrails
from rag.llm import Message, ModelServer, ServedModel, StreamFacts
from rag.retrieve import Passage
from rag.trust.faithful import MIN_SUPPORT, repeats_itself, support
from rag.trust.unknown import says_unknown

_SAFETY_TOKENS = 64
_CITED_SENTENCES = 1


class Generator:
    """Writes answers through one server."""

    def __init__(self, server: ModelServer, config: AnswerConfig, rails: Guardrails) -> None:
        """Nothing is sent yet."""
        self._server, self._config, self._rails = server, config, rails

    def budget(self, model: ServedModel) -> int:
        """Return the most tokens of a prompt, so that the answer fits behind it."""
        return min(
            self._config.context_tokens, model.window_tokens - self._config.max_tokens - _SAFETY_TOKENS
        )

    def generate(self, base: Answer, asked: Asked, model: ServedModel, embedder: Embedder) -> Answer:
        """Write from the passages; what cannot be shown comes back with mode "", or "blocked" by a guard.

        Raises:
            AnswerFailed: the server failed.
            QuestionTooLong, Cancelled.
        """
        facts = StreamFacts()
        stream, prompt = self._stream(base, asked, model, facts)
        base = replace(
            base,
            seconds={**asked.seconds, "generate": facts.seconds or 0.0},
            prompt_tokens=facts.prompt_tokens,
            completion_tokens=facts.completion_tokens,
            retries=facts.retries,
            invented_citations=stream.invented,
            guard=stream.verdict.acted,
            guard_reason=stream.verdict.reason,
        )
        if facts.ttft_s is not None:
            base.seconds["ttft"] = facts.ttft_s
        asked.seconds.update(base.seconds)
        if stream.stopped or not stream.text:
            reason = f"{model.name} {stream.stopped or 'gave no answer'}"
            mode = "blocked" if stream.verdict.blocked else ""
            return replace(base, mode=mode, reason=reason, withdrawn=bool(stream.shown))
        if says_unknown(stream.text):
            reason = f"{model.name} found no answer in the passages"
            return replace(base, text=stream.text, mode="unknown", reason=reason)
        done = replace(base, text=stream.text, mode="generate", cited=stream.cited)
        return done if done.cited else self._attributed(done, asked, prompt.passages, embedder)

    def _stream(
        self, base: Answer, asked: Asked, model: ServedModel, facts: StreamFacts
    ) -> tuple[CheckedStream, Prompt]:
        budget = self.budget(model)
        if budget < _SAFETY_TOKENS:
            raise AnswerFailed(_no_room(model, budget), base.passages)
        while True:
            with asked.timed("prompt"):
                prompt = build_prompt(
                    base.question,
                    base.passages,
                    base.language,
                    budget,
                    asked.history,
                    asked.system,
                    history_tokens=self._config.history_tokens,
                    count=self._server.tokens.of(model),
                )
            if not prompt.passages:
                raise AnswerFailed(_no_room(model, budget), base.passages)
            language = base.language if self._config.mode == "auto" else ""
            stream = CheckedStream(len(prompt.passages), self._rails, base.question, asked.on_text, language)
            try:
                with closing(self._pieces(prompt.messages, facts, asked)) as pieces:
                    for piece in pieces:
                        if not stream.feed(piece):
                            break  # closing the stream ends the generation upstream
                stream.end()
                return stream, prompt
            except PromptTooLong as error:
                # The estimate was short of what this tokenizer takes: less fits in the end, or nothing does.
                budget = budget * 2 // 3
                if budget < _SAFETY_TOKENS:
                    raise AnswerFailed(error, base.passages) from error
            except ServerUnavailable as error:
                raise AnswerFailed(error, base.passages, stream.shown) from error

    def _pieces(
        self, messages: Sequence[Message], facts: StreamFacts, asked: Asked
    ) -> abc.Generator[str, None, None]:
        """Ask with this answer's own settings: one server serves answers of several."""
        return self._server.stream(
            messages, facts, asked.cancellation, self._config.max_tokens, self._config.temperature
        )

    def _attributed(
        self, answer: Answer, asked: Asked, passages: Sequence[Passage], embedder: Embedder
    ) -> Answer:
        """Cite the passage an uncited answer is closest to."""
        quotes = best_sentences(answer.text, passages, embedder, _CITED_SENTENCES)
        if not quotes:
            return answer
        number = quotes[0].number
        asked.on_text(f" [{number}]")
        return replace(answer, text=f"{answer.text} [{number}]", cited=(number,), attributed=True)

    def from_quotes(self, base: Answer, asked: Asked, quotes: Sequence[Quote]) -> Answer:
        """Have a weak model put the best sentences into one; mode "" unless it keeps to them.

        Raises:
            AnswerFailed: the server failed.
            Cancelled.
        """
        facts = StreamFacts()
        text = ""
        try:
            messages = build_short_prompt(base.question, [quote.text for quote in quotes])
            with closing(self._pieces(messages, facts, asked)) as pieces:
                for piece in pieces:
                    text += piece
                    if repeats_itself(text):
                        break
        except PromptTooLong:
            return replace(base, mode="", reason=f"the passages do not fit {base.model}'s window")
        except ServerUnavailable as error:
            raise AnswerFailed(error, base.passages, text) from error
        text = check_citations(text, 0).text
        asked.seconds.update(generate=facts.seconds or 0.0, ttft=facts.ttft_s or 0.0)
        base = replace(
            base,
            seconds=asked.seconds,
            prompt_tokens=facts.prompt_tokens,
            completion_tokens=facts.completion_tokens,
            retries=facts.retries,
        )
        sources = [base.question, *(quote.text for quote in quotes)]
        if facts.finish_reason != "stop" or support(text, sources) < MIN_SUPPORT:
            return replace(base, mode="", reason=f"{base.model} did not keep to the passages")
        number = quotes[0].number
        return replace(base, text=f"{text} [{number}]", mode="generate", cited=(number,), attributed=True)


def _no_room(model: ServedModel, budget: int) -> PromptTooLong:
    return PromptTooLong(
        f"no passage fits into the {budget} tokens that a prompt for {model.name} may have",
        mend="Serve it with a longer window, ask for fewer tokens (--max-tokens), or quote: --mode extract",
    )
