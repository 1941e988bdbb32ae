"""The steps of both sides, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from quantserve.rag.errors import GuardFailed
from quantserve.rag.guardrails.base import Side, Step, Verdict

OnFailure = Literal["block", "pass"]


@dataclass(frozen=True)
class Guardrails:
    """`window_characters` of an answer are judged together on a stream; `fingerprint` identifies the file."""

    before: Sequence[Step] = ()
    after: Sequence[Step] = ()
    window_characters: int = 160
    on_failure: OnFailure = "block"
    fingerprint: str = ""
    messages: dict[str, str] = field(default_factory=dict)
    """What the reader is told instead, by language; missing ones are the program's."""

    @property
    def identified(self) -> bool:
        """Whether `fingerprint` tells these steps from others: an answer that they passed may be cached."""
        return bool(self.fingerprint) or not (self.before or self.after)

    def judge(self, text: str, side: Side, question: str = "") -> Verdict:
        """Run the steps of a side one after the other; the first that blocks ends it."""
        notes: list[str] = []
        steps: list[str] = []
        unjudged = False
        for step in self.before if side == "input" else self.after:
            name = f"{side}:{step.name}"
            try:
                verdict = step.judge(text, side, question or text)
            except GuardFailed as error:
                if self.on_failure == "block":
                    return Verdict(text, error.problem, steps=(name,))
                verdict = Verdict(text, notes=(f"not judged: {error.problem}",))
                unjudged = True
            if verdict.blocked:
                return Verdict(text, verdict.blocked, steps=(name,))
            if verdict.notes:
                notes += verdict.notes
                steps.append(name)
            text = verdict.text
        return Verdict(text, notes=tuple(notes), steps=tuple(steps), unjudged=unjudged)
