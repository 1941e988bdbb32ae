"""Two models' answers to the same prompts: which were lost, which were won, and is that more than chance?

McNemar's test (McNemar 1947, Psychometrika 12) looks only at the prompts on which one model is right and
the other wrong. If the candidate were as good as the base, each of those would be as likely a loss as a
gain: losses ~ Binomial(losses + gains, 1/2). The one-sided exact p-value is the chance of at least as many
losses. A prompt that neither answers, or both do, says nothing, so a weak base costs power, not fairness.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Paired:
    """How one model's answers compare with another's on the same prompts."""

    asked: int
    before: int
    """Right answers of the model compared with."""
    after: int
    """Right answers of the model that is judged."""
    lost: int
    """Right before, wrong after."""
    won: int
    """Wrong before, right after."""

    @property
    def p(self) -> float:
        """Chance of so many losses among the prompts that changed, were both models equally good."""
        return p_of_losses(self.lost, self.won)


def pair(before: Sequence[bool], after: Sequence[bool]) -> Paired:
    """Compare two models' marks, prompt by prompt."""
    both = list(zip(before, after, strict=True))
    return Paired(
        asked=len(both),
        before=sum(before),
        after=sum(after),
        lost=both.count((True, False)),
        won=both.count((False, True)),
    )


def p_of_losses(lost: int, won: int) -> float:
    """Return P(X ≥ lost) for X ~ Binomial(lost + won, 1/2); 1 where nothing changed."""
    changed = lost + won
    at_least = sum(math.comb(changed, k) for k in range(lost, changed + 1))
    return at_least / (1 << changed)


@dataclass(frozen=True)
class Divergence:
    """Where greedy answers part from another model's answers to the same prompts.

    A token after the first that differs is not compared: it answers another text. So each answer ends at
    its first difference, or unparted at its end, as in survival analysis, and the rate is the maximum
    likelihood estimate of a constant hazard: differences over tokens that could differ.
    """

    answers: int
    parted: int
    """Answers that differ somewhere."""
    tokens: int
    """Tokens up to each answer's first difference, that one included, or to its end."""

    @property
    def rate(self) -> float:
        """Chance for a token to be the first that differs; 0 where there are none."""
        return self.parted / self.tokens if self.tokens else 0.0

    @property
    def same_share(self) -> float:
        """Share of answers that are the same to the last token."""
        return 1 - self.parted / self.answers if self.answers else 1.0


def diverge(before: Sequence[Sequence[int]], after: Sequence[Sequence[int]]) -> Divergence:
    """Compare greedy token ids, answer by answer. One that ends where the other goes on differs there."""
    parted = tokens = 0
    for one, other in zip(before, after, strict=True):
        same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
        if same is None and len(one) != len(other):
            same = min(len(one), len(other))
        parted += same is not None
        tokens += len(one) if same is None else same + 1
    return Divergence(len(before), parted, tokens)
