"""The checks on a stream: what was not judged is not shown."""

from __future__ import annotations

from quantserve.rag.guardrails.base import Verdict
from quantserve.rag.guardrails.pipeline import Guardrails

_HELD = 40
"""Characters kept back behind what was judged: something forbidden may just be beginning there."""


class GuardedStream:
    """Takes pieces, judges the whole text so far a window at a time, and releases what passed."""

    def __init__(self, rails: Guardrails, question: str) -> None:
        """`question` is what the text answers."""
        self._rails, self._question = rails, question
        self._text = ""
        self._judged = 0
        self._shown = ""
        self.verdict = Verdict("")

    @property
    def blocked(self) -> str:
        """Why the rest may not be shown; empty while all may."""
        return self.verdict.blocked

    def feed(self, piece: str) -> str:
        """Take a piece; return what may be shown now."""
        if not self._rails.after:
            return piece
        self._text += piece
        if self.blocked or len(self._text) - self._judged < self._rails.window_characters:
            return ""
        return self._judge(_HELD)

    def end(self) -> str:
        """Judge what is left; return what may be shown of it."""
        if not self._rails.after or self.blocked or not self._text:
            return ""
        return self._judge(0)

    def _judge(self, held: int) -> str:
        self._judged = len(self._text)
        self.verdict = self._rails.judge(self._text, "output", self._question)
        if self.blocked:
            return ""
        passed = self.verdict.text
        if not passed.startswith(self._shown):
            # A step changed what has been shown: that cannot be taken back, so it ends here.
            self.verdict = Verdict(
                self._text, "something shown should have been masked", steps=self.verdict.steps
            )
            return ""
        end = max(len(self._shown), len(passed) - held)
        new = passed[len(self._shown) : end]
        self._shown += new
        return new
