"""A generated text on its way to the reader: language, citations and guardrails are checked as it comes."""

from __future__ import annotations

from collections.abc import Callable

from rag.answer.citations import CitationStream
from rag.guardrails import GuardedStream, Guardrails, Verdict
from rag.trust.faithful import repeats_itself
from rag.trust.languages import begins_in_language, is_in_language

Sink = Callable[[str], None]


class CheckedStream:
    """Takes the model's pieces and passes on what may be shown.

    `stopped` says why the generation need not go on; empty while all is well.
    """

    def __init__(
        self, passages: int, rails: Guardrails, question: str, on_text: Sink, language: str = ""
    ) -> None:
        """`language` is what the text must be in; empty: any, and repetition is not judged either."""
        self._citations = CitationStream(passages)
        self._guarded = GuardedStream(rails, question)
        self._on_text = on_text
        self._language = language
        self._told = not language
        self._held = ""
        self._checked = ""
        self._shown = ""
        self.raw = ""
        self.stopped = ""

    @property
    def text(self) -> str:
        """The whole text so far with its citations checked and what must be masked masked."""
        return (self._guarded.verdict.text or self._checked).strip()

    @property
    def shown(self) -> str:
        """What has been passed on."""
        return self._shown

    @property
    def cited(self) -> tuple[int, ...]:
        """Passages cited so far."""
        return self._citations.cited

    @property
    def invented(self) -> int:
        """Citations removed so far."""
        return self._citations.invented

    @property
    def verdict(self) -> Verdict:
        """What the guard said last."""
        return self._guarded.verdict

    def feed(self, piece: str) -> bool:
        """Take a piece; return whether more is wanted."""
        self.raw += piece
        self._pass(self._citations.feed(piece), last=False)
        if self._language and not self.stopped and piece.endswith((".", "\n")) and repeats_itself(self.raw):
            self.stopped = "repeated itself"
        return not self.stopped

    def end(self) -> None:
        """Take the end: what was held back is judged."""
        if self.stopped:
            return
        self._pass(self._citations.end(), last=True)
        if self._language and not self.stopped and not is_in_language(self.raw, self._language):
            self.stopped = "answered in another language"

    def _pass(self, checked: str, *, last: bool) -> None:
        self._checked += checked
        self._held += checked
        if not self._told:
            told = begins_in_language(self._checked, self._language)
            if last and told is None:
                told = is_in_language(self._checked, self._language)
            if told is False:
                self.stopped = "answered in another language"
            if not told:
                return
            self._told = True
        ready, self._held = self._guarded.feed(self._held), ""
        if last:
            ready += self._guarded.end()
        if self._guarded.blocked:
            self.stopped = "was stopped by a guard"
        if not self._shown:
            ready = ready.lstrip()
        if ready:
            self._shown += ready
            self._on_text(ready)
