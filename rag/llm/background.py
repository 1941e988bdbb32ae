"""One event loop in a daemon thread: threads that answer questions leave their requests to it.

A request in an event loop can be given up at any moment, in the middle of waiting, which a thread that
blocks in a read cannot.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def submit(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Run `work` in the loop; cancelling the future cancels it there."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="model-server", daemon=True).start()
    return asyncio.run_coroutine_threadsafe(work, _loop)
