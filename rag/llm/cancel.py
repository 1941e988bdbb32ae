"""Say from any thread that an answer is no longer wanted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from quantserve.rag.errors import Cancelled


class Cancellation:
    """Handed to `answer`; `cancel()` ends it at its next step, and a generation at once."""

    def __init__(self) -> None:
        """Nothing is cancelled yet."""
        self._lock = threading.Lock()
        self._cancelled = False
        self._callbacks: list[Callable[[], None]] = []

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    def cancel(self) -> None:
        """Cancel; safe from any thread and more than once."""
        with self._lock:
            self._cancelled = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def check(self) -> None:
        """Go on only while the answer is wanted.

        Raises:
            Cancelled: it is not.
        """
        if self._cancelled:
            raise Cancelled("the answer is no longer wanted")

    @contextmanager
    def calling(self, callback: Callable[[], None]) -> Iterator[None]:
        """Have `cancel` call `callback` meanwhile; it is called at once where that has happened already."""
        with self._lock:
            late = self._cancelled
            if not late:
                self._callbacks.append(callback)
        if late:
            callback()
        try:
            yield
        finally:
            with self._lock:
                if callback in self._callbacks:
                    self._callbacks.remove(callback)
