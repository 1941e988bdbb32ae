"""The line between launcher and engine: a pair of connected sockets, one end inherited by the engine.

    launcher → engine   Facts, one JSON line each: may requests come in, what should /metrics show
    engine → launcher   "listening"   its HTTP server takes connections now
                        "drained"     it was told to stop and no request is left
                        "ended"       its core is dead or its HTTP server closed, though the process runs
                        {"died": …}   how a child ended, or which exception: serving.supervise.children

The listening socket is inherited in the same way. Both descriptors are named in the environment.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from quantserve.core.http.refusal import Refusal

Phase = Literal["starting", "serving", "restarting", "stopping"]
LINE_VARIABLE = "QUANTSERVE_LINE_FD"
LISTENER_VARIABLE = "QUANTSERVE_LISTEN_FD"
LISTENING = "listening"
DRAINED = "drained"
ENDED = "ended"
# The other side is gone or hangs: that is found out by its end and by probes, not here.
_GONE = (BrokenPipeError, ConnectionResetError, BlockingIOError)
_WHY = {
    "starting": "the server is starting",
    "restarting": "the engine has died and is being started again",
    "stopping": "the server is stopping",
}


@dataclass(frozen=True)
class Facts:
    """What only the launcher knows and the engine's process shows: one moment of a server's life.

    Times in seconds; None is not known yet.
    """

    phase: Phase = "starting"
    restarts: int = 0
    """Engines started again since the launcher began."""
    startup_s: float | None = None
    """From the last engine's start to its first token."""
    probe_ok: bool | None = None
    probe_s: float | None = None
    """Time the last probe took to bring its token; None when none came."""
    probe_at: float | None = None
    """Unix time of the last probe's end."""
    retry_after_s: int = 5
    """When a client that is refused now should ask again."""

    def changed(self, **fields: Any) -> Facts:
        """Return a copy with some fields replaced."""
        return replace(self, **fields)

    def to_line(self) -> bytes:
        """Return one line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Facts:
        """Read what `to_line` wrote."""
        return cls(**json.loads(line))


def unavailable(facts: Facts) -> Refusal:
    """Return the 503 of a server that takes no requests now; it says when to ask again."""
    phase = "restarting" if facts.phase == "serving" else facts.phase
    return Refusal(503, phase, _WHY[phase], retry_after_s=facts.retry_after_s, close=True)


def inherited(variable: str) -> socket.socket | None:
    """Return the socket a process was started with, None without one. It goes to no program started later."""
    number = os.environ.get(variable)
    if number is None:
        return None
    os.set_inheritable(int(number), False)
    return socket.socket(fileno=int(number))


class Line:
    """One end. Never blocks."""

    def __init__(self, end: socket.socket) -> None:
        """Take the socket over."""
        end.setblocking(False)
        self._socket = end
        self._half = b""
        self.ended = False
        """The other side has closed its end."""

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._socket.fileno()

    def lines(self) -> list[bytes]:
        """Return the whole lines that have come since the last call."""
        data = self._half
        with contextlib.suppress(*_GONE):
            while chunk := self._socket.recv(65536):
                data += chunk
            self.ended = True
        *whole, self._half = data.split(b"\n")
        return whole

    def say(self, word: str) -> None:
        """Send one word to the launcher."""
        self._send(word.encode() + b"\n")

    def tell(self, facts: Facts) -> None:
        """Send facts to the engine."""
        self._send(facts.to_line())

    def _send(self, data: bytes) -> None:
        with contextlib.suppress(*_GONE):
            self._socket.send(data)

    def close(self) -> None:
        """Give the descriptor back."""
        self._socket.close()
