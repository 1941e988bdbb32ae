"""An answer while it is being made: a thread works, the event loop hears of it, and either may end it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from quantserve.core.errors import QuantserveError
from quantserve.rag.errors import Cancelled
from quantserve.rag.llm import Cancellation
from quantserve.rag.retrieve import Passage
from quantserve.rag.server.engine import AnswerEngine, AnswerRequest, ServedAnswer


@dataclass(frozen=True)
class PassagesFound:
    """The passages are known."""

    passages: tuple[Passage, ...]


@dataclass(frozen=True)
class TextPiece:
    """A piece of the answer."""

    piece: str


@dataclass(frozen=True)
class Done:
    """The answer is whole."""

    answered: ServedAnswer


@dataclass(frozen=True)
class Failed:
    """There is no whole answer."""

    error: QuantserveError


@dataclass(frozen=True)
class Waiting:
    """Nothing happened for a while."""


Event = PassagesFound | TextPiece | Done | Failed | Waiting


@dataclass
class Times:
    """`time.time_ns` of what happened; None while it has not."""

    began: int
    passages: int | None = None
    first_text: int | None = None
    ended: int | None = None


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


class LiveAnswer:
    """Runs one question in a thread of its own, as soon as it has its `turn`.

    The threads are daemons: one that waits for a model server that says nothing does not keep the program
    from ending.
    """

    def __init__(
        self, engine: AnswerEngine, asked: AnswerRequest, turn: AbstractContextManager[None]
    ) -> None:
        """Start at once."""
        self.times = Times(time.time_ns())
        self.left = False
        """Whether the client left before the answer was whole."""
        self._cancellation = Cancellation()
        self._events: asyncio.Queue[Event | BaseException] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._turn = turn
        threading.Thread(target=self._work, args=(engine, asked), name="answer", daemon=True).start()

    def _tell(self, event: Event | BaseException) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    def _work(self, engine: AnswerEngine, asked: AnswerRequest) -> None:
        def on_passages(passages: Sequence[Passage]) -> None:
            self.times.passages = time.time_ns()
            self._tell(PassagesFound(tuple(passages)))

        def on_text(piece: str) -> None:
            if self.times.first_text is None:
                self.times.first_text = time.time_ns()
            self._tell(TextPiece(piece))

        try:
            with self._turn:
                self._cancellation.check()
                answered = engine.answer(asked, on_text, on_passages, self._cancellation)
            self.times.ended = time.time_ns()
            self._tell(Done(answered))
        except Cancelled:
            return
        except QuantserveError as error:
            self.times.ended = time.time_ns()
            self._tell(Failed(error))
        except BaseException as error:  # noqa: BLE001  (raised again where the request is answered)
            self._tell(error)

    async def events(self, request: Request, silence_s: float = 15.0) -> AsyncGenerator[Event, None]:
        """Yield what happens until the answer is whole, has failed, or the client has left."""
        gone = asyncio.ensure_future(_disconnected(request))
        following: asyncio.Future[Event | BaseException] | None = None
        try:
            while True:
                following = following or asyncio.ensure_future(self._events.get())
                both: set[asyncio.Future[Any]] = {gone, following}
                await asyncio.wait(both, timeout=silence_s, return_when=asyncio.FIRST_COMPLETED)
                if following.done():
                    event, following = following.result(), None
                    if isinstance(event, BaseException):
                        raise event
                    yield event
                    if isinstance(event, Done | Failed):
                        return
                elif gone.done():
                    self.left = True
                    return
                else:
                    yield Waiting()
        finally:
            self._cancellation.cancel()
            gone.cancel()
            if following is not None:
                following.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
