"""Places that requests take: so many for all, and of them a share for each key, so that none takes all."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from quantserve.rag.server.refusal import Refusal

_RETRY_S = 2


class Room:
    """Places for requests in flight; used by the event loop alone."""

    def __init__(self, most: int, share: int | None = None, what: str = "questions") -> None:
        """`share`: places of one key; None: all of them."""
        self._most, self._share, self._what = most, share if share is not None else most, what
        self._of = Counter[str]()

    @property
    def taken(self) -> int:
        """Places that are taken."""
        return self._of.total()

    @contextmanager
    def place(self, key: str) -> Iterator[None]:
        """Hold a place.

        Raises:
            Refusal: 429, there is none.
        """
        code = f"too_many_{'requests' if self._what == 'questions' else self._what}"
        if self._of[key] >= self._share:
            raise Refusal(
                429,
                code,
                f"{self._share} {self._what} of this key are in flight, no more are taken; try again",
                retry_after_s=_RETRY_S,
            )
        if self.taken >= self._most:
            raise Refusal(
                429,
                code,
                f"{self._most} {self._what} are in flight, no more are taken; try again",
                retry_after_s=_RETRY_S,
            )
        self._of[key] += 1
        try:
            yield
        finally:
            self._of[key] -= 1
            if not self._of[key]:
                del self._of[key]


class Turns:
    """Turns at working, for threads: so many at once, and of one key no more than its share."""

    def __init__(self, most: int, share: int | None = None) -> None:
        """`share`: turns of one key at once; None: all of them."""
        self._most, self._share = most, share if share is not None else most
        self._of = Counter[str]()
        self._changed = threading.Condition()

    def of(self, key: str) -> AbstractContextManager[None]:
        """Return a turn of a key: entering waits for it."""
        return self._turn(key)

    @contextmanager
    def _turn(self, key: str) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._of[key] < self._share and self._of.total() < self._most)
            self._of[key] += 1
        try:
            yield
        finally:
            with self._changed:
                self._of[key] -= 1
                if not self._of[key]:
                    del self._of[key]
                self._changed.notify_all()
