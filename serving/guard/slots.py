"""The bounded queue: how many sequences run and wait in the engine, and who comes when it is full."""

from __future__ import annotations

import math

from quantserve.serving.guard.refusal import Refusal, too_large

_LONGEST_RETRY_S = 30
_WEIGHT = 0.1


class Slots:
    """Counts sequences between admission and the end of their response."""

    def __init__(self, limit: int) -> None:
        """`limit` is running and waiting together."""
        self.limit = limit
        self.taken = 0
        self._typical_s = 1.0

    def take(self, sequences: int) -> None:
        """Take slots.

        Raises:
            Refusal: 429 with Retry-After when they are not free, 400 when they never could be.
        """
        if sequences > self.limit:
            raise too_large(
                f"the request asks for {sequences} answers at once, {self.limit} are the most", "n"
            )
        if self.taken + sequences > self.limit:
            wait = min(_LONGEST_RETRY_S, max(1, math.ceil(self._typical_s)))
            raise Refusal(
                429,
                "queue_full",
                f"{self.taken} requests are running and waiting, {self.limit} are the most; try again",
                retry_after_s=wait,
            )
        self.taken += sequences

    def release(self, sequences: int, seconds: float) -> None:
        """Give slots back after `seconds` of use."""
        self.give_back(sequences)
        self._typical_s += _WEIGHT * (seconds - self._typical_s)

    def give_back(self, sequences: int) -> None:
        """Give slots back that were not used."""
        self.taken -= sequences
