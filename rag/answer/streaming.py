"""A generated text on its way to the reader: a sentence is proved, cited and guarded before it is shown."""

from __future__ import annotations

from collections.abc import Callable

from quantserve.rag.answer.citations import SentenceStream, cited_by, without_citations
from quantserve.rag.claims import Prover
from quantserve.rag.guardrails import GuardedStream, Guardrails, Verdict
from quantserve.rag.trust.faithful import repeats_itself
from quantserve.rag.trust.languages import begins_in_language, is_in_language

Sink = Callable[[str], None]


class CheckedStream:
    """Takes the model's pieces and passes on the sentences that a passage says.

    `stopped` says why the generation need not go on; empty while all is well.
    """

    def __init__(
        self, prover: Prover, rails: Guardrails, question: str, on_text: Sink, language: str = ""
    ) -> None:
        """`language` is what the text must be in; empty: any, and repetition is not judged either."""
        self._prover = prover
        self._sentences = SentenceStream()
        self._guarded = GuardedStream(rails, question)
        self._on_text = on_text
        self._language = language
        self._checked = ""
        self._gap = ""
        """White space since the last sentence that was shown."""
        self._shown = ""
        self._cited: dict[int, None] = {}
        self.raw = ""
        self.stopped = ""
        self.invented = 0
        """Citations removed so far: of passages that do not exist, or do not say it."""
        self.attributed = False
        """Whether a sentence got a citation that the model had not given."""
        self.unproved = 0
        """Sentences left out so far, since no passage says them."""

    @property
    def text(self) -> str:
        """The whole text so far, with what must be masked masked."""
        return (self._guarded.verdict.text or self._checked).strip()

    @property
    def shown(self) -> str:
        """What has been passed on."""
        return self._shown

    @property
    def cited(self) -> tuple[int, ...]:
        """Passages cited so far."""
        return tuple(self._cited)

    @property
    def verdict(self) -> Verdict:
        """What the guard said last."""
        return self._guarded.verdict

    def feed(self, piece: str) -> bool:
        """Take a piece; return whether more is wanted."""
        self.raw += piece
        if self._language and begins_in_language(without_citations(self.raw), self._language) is False:
            self.stopped = "answered in another language"
        for sentence in self._sentences.feed(piece):
            self._pass(sentence)
        if self._language and not self.stopped and piece.endswith((".", "\n")) and repeats_itself(self.raw):
            self.stopped = "repeated itself"
        return not self.stopped

    def end(self) -> None:
        """Take the end: what was held back is judged."""
        for sentence in self._sentences.end():
            self._pass(sentence)
        if not self.stopped:
            self._show(self._guarded.end())

    def _pass(self, sentence: str) -> None:
        """Show a sentence that is in the language and that a passage says; leave out another."""
        words = without_citations(sentence)
        if self.stopped or not words.strip(" \t\n.,;:!?*-"):
            self._gap += sentence
            return
        if self._language and not is_in_language(words, self._language):
            self.stopped = "answered in another language"
            return
        proofs = self._prover.proofs(words)
        if not proofs:
            self.unproved += 1
            self._gap += sentence
            return
        checked = cited_by(sentence.strip(), proofs)
        self.invented += checked.invented
        self.attributed = self.attributed or checked.is_attributed
        self._cited.update(dict.fromkeys(checked.cited))
        gap = self._gap + sentence[: len(sentence) - len(sentence.lstrip())]
        between = ("\n" if "\n" in gap else " ") if self._checked else ""
        self._gap = sentence[len(sentence.rstrip()) :]
        self._checked += between + checked.text
        self._show(self._guarded.feed(between + checked.text))

    def _show(self, ready: str) -> None:
        if self._guarded.blocked:
            self.stopped = "was stopped by a guard"
            return
        if not self._shown:
            ready = ready.lstrip()
        if ready:
            self._shown += ready
            self._on_text(ready)
