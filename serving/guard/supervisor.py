"""The launcher, as seen from the engine's process: it says whether requests may come in and what to show.

Between "listening" and the launcher's own first token only its probe is let in; once it says "stopping"
nothing new is, and it hears when the last request has ended.
"""

from __future__ import annotations

import asyncio
from typing import Any

from prometheus_client import REGISTRY

from quantserve.serving.guard.exchange import Message, Scope, Send
from quantserve.serving.guard.refusal import Refusal, unavailable
from quantserve.serving.guard.settings import Artifact
from quantserve.serving.supervise.facts import Facts
from quantserve.serving.supervise.line import DRAINED, ENDED, LINE_VARIABLE, LISTENING, Line, inherited
from quantserve.serving.supervise.metrics import FactsCollector

_CORE_WATCH_S = 0.2
_ARRIVING_S = 0.2


class Supervisor:
    """Holds the latest facts and counts the requests that are under way."""

    def __init__(self, artifact: Artifact) -> None:
        """Without a launcher (no line in the environment) requests always may come in."""
        end = inherited(LINE_VARIABLE)
        self._line = Line(end) if end is not None else None
        self.facts = Facts(phase="serving" if self._line is None else "starting")
        self._under_way = 0
        self._app: Any = None
        self._settled = False
        """Whether connections taken before we stopped to listen have had time to send their request."""
        if self._line is not None:
            REGISTRY.register(FactsCollector(lambda: self.facts, artifact))

    def at_startup(self, scope: Scope, send: Send) -> Send:
        """Return a `send` for the server's lifespan that reports once its HTTP side is about to listen."""

        async def sending(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete" and self._line is not None:
                self._app = scope.get("app")
                asyncio.get_running_loop().add_reader(self._line.fileno(), self._read)
                self._line.say(LISTENING)
                self._watch_core(scope)
            await send(message)

        return sending

    def at_shutdown(self) -> None:
        """Report that the HTTP side takes nothing any more; the process may need seconds to end."""
        if self._line is not None:
            self._line.say(ENDED)

    def _watch_core(self, scope: Scope) -> None:
        """Report a dead core at once; vLLM's own watch needs up to five seconds."""
        if self.engine_dead(scope) is not None:
            self._stop_listening()
            self.at_shutdown()
        else:
            asyncio.get_running_loop().call_later(_CORE_WATCH_S, self._watch_core, scope)

    def open(self, scope: Scope) -> bool:
        """Whether requests may come in now."""
        return self.facts.phase == "serving" and self.engine_dead(scope) is None

    def closed_to(self, scope: Scope, *, internal: bool) -> Refusal | None:
        """Return why a request cannot be taken now; `internal` is the launcher's own probe."""
        phase = self.facts.phase
        if phase != "serving" and not (internal and phase == "starting"):
            return unavailable(self.facts)
        return self.engine_dead(scope)

    def engine_dead(self, scope: Scope) -> Refusal | None:
        """Return the refusal of a request whose engine core has died under a server that still answers."""
        app = scope.get("app")
        engine = getattr(app.state, "engine_client", None) if app is not None else None
        if engine is not None and engine.errored:
            return unavailable(self.facts.changed(phase="restarting"))
        return None

    def enter(self) -> None:
        """Note that a request begins."""
        self._under_way += 1

    def leave(self) -> None:
        """Note that it has ended."""
        self._under_way -= 1
        self._report_if_drained()

    def _read(self) -> None:
        if self._line is None:
            return
        before = self.facts.phase
        for line in self._line.lines():
            self.facts = Facts.from_line(line)
        if self._line.ended:  # the launcher was killed, and whoever ends us is on the way
            asyncio.get_running_loop().remove_reader(self._line.fileno())
        if self.facts.phase == "stopping" != before:
            self._stop_listening()
            asyncio.get_running_loop().call_later(_ARRIVING_S, self._settle)

    def _stop_listening(self) -> None:
        """Leave new connections to the launcher's stand-in: ours would be reset when the server ends."""
        server = getattr(self._app.state, "server", None) if self._app is not None else None
        for listening in getattr(server, "servers", ()):
            listening.close()

    def _settle(self) -> None:
        self._settled = True
        self._report_if_drained()

    def _report_if_drained(self) -> None:
        if self._line is not None and self._settled and self._under_way == 0:
            self._line.say(DRAINED)
