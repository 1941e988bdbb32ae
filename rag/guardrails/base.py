"""What a step is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Side = Literal["input", "output"]


@dataclass(frozen=True)
class Verdict:
    """What a step says of a text. `text` is what may go on: the same, or with something masked.

    `blocked` is why nothing may; `notes` say what was masked. `steps` are the names of the steps that
    blocked or masked, with their side ("output:rules"); the pipeline fills them in. `unjudged` is True where
    a step failed and the guard file lets pass what cannot be judged.
    """

    text: str
    blocked: str = ""
    notes: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    unjudged: bool = False

    @property
    def acted(self) -> str:
        """The steps that blocked or masked, for a log or a metric: few and short."""
        return ", ".join(self.steps)

    @property
    def reason(self) -> str:
        """Why it was blocked, or what was masked."""
        return self.blocked or "; ".join(self.notes)


class Step(Protocol):
    """One check, used from many threads at once."""

    @property
    def name(self) -> str:
        """What logs and metrics call it."""

    def judge(self, text: str, side: Side, question: str) -> Verdict:
        """Judge a text; `question` is what the answer answers. A text may be the beginning of an answer.

        Raises:
            GuardFailed: the step could not judge (a server that does not answer).
        """
