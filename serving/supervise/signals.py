"""SIGTERM, SIGINT and SIGHUP as an exception in the main thread, at a moment when it does no harm."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopAsked(BaseException):
    """A signal asked for the end; raised wherever the main thread happens to be."""

    def __init__(self, signum: int) -> None:
        """`signum` is the signal that came."""
        super().__init__(signum)
        self.signum = signum


class StopSignals:
    """The first signal raises StopAsked, every later one calls `on_second`."""

    def __init__(self, on_second: Callable[[], None]) -> None:
        """`on_second` is called inside the signal handler."""
        self._on_second = on_second
        self._asked: int | None = None
        self._ending = False
        self._deferred = 0

    def install(self) -> None:
        """Take the signals over; main thread only."""
        for signum in _STOPS:
            signal.signal(signum, self._handle)

    def ending(self) -> None:
        """From now on a signal is a second one, whether or not there was a first."""
        self._ending = True

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Within the block a signal waits; it is raised at the block's end."""
        self._deferred += 1
        try:
            yield
        finally:
            self._deferred -= 1
        if self._asked is not None and not self._ending and not self._deferred:
            self._ending = True
            raise StopAsked(self._asked)

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        if self._asked is not None or self._ending:
            self._ending = True
            self._on_second()
            return
        self._asked = signum
        if not self._deferred:
            self._ending = True
            raise StopAsked(signum)
