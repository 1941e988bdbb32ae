"""Bounds on what is under way at once; who comes when there is no room is told when to ask again.

Places          requests, or whatever one of them takes several of: 429 with Retry-After
UnreadBodies    bodies that are on their way: the oldest of whoever has most of them gives way
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from quantserve.core.http.refusal import Refusal, too_large

_LONGEST_RETRY_S = 30
_WEIGHT = 0.1


class Places:
    """Counts what runs and waits between admission and the end of its answer; for the event loop alone."""

    def __init__(
        self, limit: int, share: int | None = None, *, what: str = "requests", code: str = "queue_full"
    ) -> None:
        """`limit`: for all together; `share`: of one owner, by default all; `code` is the refusal's."""
        self.limit = limit
        self.taken = 0
        self._share = share
        self._of = Counter[str]()
        self._what, self._code = what, code
        self._typical_s = 1.0

    def take(self, count: int = 1, owner: str = "") -> None:
        """Take places.

        Raises:
            Refusal: 429 with Retry-After when they are not free, 400 when they never could be.
        """
        if count > self.limit:
            raise too_large(f"the request asks for {count} answers at once, {self.limit} are the most", "n")
        if self._share is not None:
            if self._of[owner] + count > self._share:
                raise self._full(f"{self._of[owner]} {self._what} of this key", self._share)
            self._of[owner] += count
        if self.taken + count > self.limit:
            self._forget(count, owner)
            raise self._full(f"{self.taken} {self._what}", self.limit)
        self.taken += count

    def _full(self, taken: str, most: int) -> Refusal:
        wait_s = min(_LONGEST_RETRY_S, max(1, math.ceil(self._typical_s)))
        message = f"{taken} are running and waiting, {most} are the most; try again"
        return Refusal(429, self._code, message, retry_after_s=wait_s)

    def release(self, count: int, seconds: float, owner: str = "") -> None:
        """Give places back after `seconds` of use."""
        self.give_back(count, owner)
        self._typical_s += _WEIGHT * (seconds - self._typical_s)

    def give_back(self, count: int = 1, owner: str = "") -> None:
        """Give places back that were not used."""
        self.taken -= count
        self._forget(count, owner)

    def _forget(self, count: int, owner: str) -> None:
        if self._share is not None:
            self._of[owner] -= count
            if not self._of[owner]:
                del self._of[owner]

    @contextmanager
    def place(self, owner: str = "") -> Iterator[None]:
        """Hold one place.

        Raises:
            Refusal: 429, there is none.
        """
        self.take(owner=owner)
        start = perf_counter()
        try:
            yield
        finally:
            self.release(1, perf_counter() - start, owner)


class UnreadBodies:
    """All bodies that are being read; for the event loop alone.

    A body that never comes holds nothing but its connection: no place is taken before it is whole.
    """

    def __init__(self, limit: int) -> None:
        """`limit`: for all together."""
        self._limit = limit
        self._unread: dict[asyncio.Timeout, str] = {}
        """In the order they began, with the owner of each."""

    @contextmanager
    def counted(self, timer: asyncio.Timeout, owner: str) -> Iterator[None]:
        """Count a body; where they are too many, the oldest of whoever has most of them runs out of time."""
        if len(self._unread) >= self._limit:
            counts = Counter(self._unread.values())
            most = max(counts, key=lambda each: counts[each])
            oldest = next(timer for timer, each in self._unread.items() if each == most)
            del self._unread[oldest]
            oldest.reschedule(asyncio.get_running_loop().time())
        self._unread[timer] = owner
        try:
            yield
        finally:
            self._unread.pop(timer, None)
