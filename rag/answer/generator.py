"""Have the model write: from passages by the rules, or, where it is too small for rules, from quotes."""

from __future__ import annotations

from collections import abc
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

from quantserve.rag.answer.asked import Asked
from quantserve.rag.answer.citations import without_citations
from quantserve.rag.answer.extract import Quote
from quantserve.rag.answer.prompt import build_prompt, build_short_prompt
from quantserve.rag.answer.result import Answer, AnswerFailed
from quantserve.rag.answer.streaming import CheckedStream
from quantserve.rag.answer.wording import UNKNOWN
from quantserve.rag.claims import Prover
from quantserve.rag.config import AnswerConfig
from quantserve.rag.errors import PromptTooLong, ServerUnavailable
from quantserve.rag.guardrails import Guardrails
from quantserve.rag.llm import Message, ModelServer, ServedModel, StreamFacts
from quantserve.rag.retrieve import Passage
from quantserve.rag.trust.faithful import repeats_itself
from quantserve.rag.trust.unknown import says_unknown

_SAFETY_TOKENS = 64


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

    def generate(self, base: Answer, asked: Asked, model: ServedModel) -> Answer:
        """Write from the passages, what they say alone; mode "" without any of it, "blocked" by a guard.

        Raises:
            AnswerFailed: the server failed.
            QuestionTooLong, Cancelled.
        """
        facts = StreamFacts()
        stream = self._stream(base, asked, model, facts)
        base = replace(
            base,
            seconds={**asked.seconds, "generate": facts.seconds or 0.0},
            prompt_tokens=facts.prompt_tokens,
            completion_tokens=facts.completion_tokens,
            retries=facts.retries,
            guard=stream.verdict.acted,
            guard_reason=stream.verdict.reason,
            provisional=base.provisional or stream.verdict.unjudged,
        )
        if facts.ttft_s is not None:
            base.seconds["ttft"] = facts.ttft_s
        asked.seconds.update(base.seconds)
        if stream.stopped:
            mode = "blocked" if stream.verdict.blocked else ""
            return replace(
                base, mode=mode, reason=f"{model.name} {stream.stopped}", withdrawn=bool(stream.shown)
            )
        if says_unknown(without_citations(stream.raw)):
            reason = f"{model.name} found no answer in the passages"
            return replace(
                base, text=UNKNOWN[base.language], mode="unknown", reason=reason, withdrawn=bool(stream.shown)
            )
        return self._proved(base, stream, model)

    def _proved(self, base: Answer, stream: CheckedStream, model: ServedModel) -> Answer:
        """Return the sentences that were proved; mode "" where none was."""
        if not stream.text:
            why = "did not keep to the passages" if stream.unproved else "gave no answer"
            return replace(base, mode="", reason=f"{model.name} {why}")
        notes = base.notes
        if stream.unproved:
            notes = (*notes, f"{stream.unproved} sentence(s) that no passage says were left out")
        return replace(
            base,
            text=stream.text,
            mode="generate",
            cited=stream.cited,
            invented_citations=stream.invented,
            attributed=stream.attributed,
            notes=notes,
        )

    def _stream(self, base: Answer, asked: Asked, model: ServedModel, facts: StreamFacts) -> CheckedStream:
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
            stream = CheckedStream(
                prover_of(base, prompt.passages), self._rails, base.question, asked.on_text, language
            )
            try:
                with closing(self._pieces(prompt.messages, facts, asked)) as pieces:
                    for piece in pieces:
                        if not stream.feed(piece):
                            break  # closing the stream ends the generation upstream
                stream.end()
                return stream
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

    def from_quotes(self, base: Answer, asked: Asked, model: ServedModel, quotes: Sequence[Quote]) -> Answer:
        """Have a weak model put the best sentences into one; mode "" unless a passage says what it wrote.

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
        asked.seconds.update(generate=facts.seconds or 0.0, ttft=facts.ttft_s or 0.0)
        base = replace(
            base,
            seconds=asked.seconds,
            prompt_tokens=facts.prompt_tokens,
            completion_tokens=facts.completion_tokens,
            retries=facts.retries,
        )
        # Guards judge the whole of it, since nothing is shown before the end.
        stream = CheckedStream(prover_of(base, base.passages), Guardrails(), base.question, lambda _: None)
        stream.feed(without_citations(text))
        stream.end()
        return self._proved(base, stream, model)


def prover_of(base: Answer, passages: Sequence[Passage]) -> Prover:
    """Return what proves sentences by passages, for the question as it was asked and as it stands alone."""
    return Prover(
        tuple(filter(None, (base.question, base.condensed_question))),
        [passage.chunk.text for passage in passages],
    )


def _no_room(model: ServedModel, budget: int) -> PromptTooLong:
    return PromptTooLong(
        f"no passage fits into the {budget} tokens that a prompt for {model.name} may have",
        mend="Serve it with a longer window, ask for fewer tokens (--max-tokens), or quote: --mode extract",
    )
