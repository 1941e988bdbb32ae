"""The listening socket, held from before the first engine to after the last: the address is never lost.

Engines inherit it and take connections themselves, so no hop lies on their way; what waits in its backlog
when an engine dies is answered by the unavailable server.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace

from quantserve.serving.guard.launcher_line import Facts
from quantserve.serving.guard.settings import GuardSettings
from quantserve.serving.ports import listen_on
from quantserve.serving.tls import Tls


class Listener:
    """One address and who answers on it."""

    def __init__(self, host: str, port: int) -> None:
        """Listen; port 0 picks a spare one. The unavailable server answers from now on.

        Raises:
            PortTaken: something listens there, or the address is not this machine's.
        """
        from quantserve.serving.supervise.unavailable_server import UnavailableServer  # brings a web server

        self.socket = listen_on(host, port)
        self.port: int = self.socket.getsockname()[1]
        self._facts = Facts()
        self._expected_at: float | None = None
        self._unavailable = UnavailableServer(self.socket, self._now)
        self._unavailable.start()

    def know(self, settings: GuardSettings, tls: Tls | None = None) -> None:
        """Learn what is going to be served and how, once the plan says it."""
        if tls is not None:
            self._unavailable.stop()
        self._unavailable.know(settings, tls)
        self._unavailable.start()

    def say(self, facts: Facts, expected_at: float | None) -> None:
        """Set what refused clients hear; `expected_at`: when one should serve, on the monotonic clock."""
        self._facts, self._expected_at = facts, expected_at

    def _now(self) -> Facts:
        """The facts with Retry-After as it is at this moment."""
        if self._expected_at is None:
            return self._facts
        left = math.ceil(self._expected_at - time.monotonic())
        return replace(self._facts, retry_after_s=max(1, left))

    def answer_unavailable(self) -> None:
        """Let the unavailable server take connections; an engine that listens takes them, too."""
        self._unavailable.start()

    def leave_to_engine(self) -> None:
        """Take no more connections here."""
        self._unavailable.stop()

    def __enter__(self) -> Listener:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it, whatever happened."""
        self.close()

    def close(self) -> None:
        """Give the address up, once the connections taken are answered."""
        self._unavailable.stop()
        self.socket.close()
