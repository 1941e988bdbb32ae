"""The steps of both sides, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from rag.errors import GuardFailed
from rag.guardrails.base import Side, Step, Verdict

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

    def judge(self, text: str, side: Side, question: str = "") -> Verdict:
        """Run the steps of a side one after the other; the first that blocks ends it."""
        notes: list[str] = []
        for step in self.before if side == "input" else self.after:
            try:
                verdict = step.judge(text, side, question or text)
            except GuardFailed as error:
                if self.on_failure == "block":
                    return Verdict(text, f"{side}: {step.name}: {error.problem}", tuple(notes))
                notes.append(f"{side}: {step.name}: {error.problem}")
                continue
            if verdict.blocked:
                return Verdict(text, f"{side}: {step.name}: {verdict.blocked}", tuple(notes))
            notes += [f"{side}: {step.name}: {note}" for note in verdict.notes]
            text = verdict.text
        return Verdict(text, notes=tuple(notes))
