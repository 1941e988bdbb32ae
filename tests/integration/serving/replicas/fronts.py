"""A front in the test's own loop, before servers that the test brings."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from quantserve.serving.guard.settings import GuardSettings
from quantserve.serving.replicas.config import FrontOptions, PickingOptions
from quantserve.serving.replicas.front import Front
from quantserve.serving.replicas.public_port import PublicPort


@asynccontextmanager
async def front_before(
    replicas: Mapping[str, str],
    *,
    policy: str = "least_running",
    guard: Mapping[str, Any] | None = None,
    keys: bool = True,
    most_held_bytes: int = 1 << 28,
    options: FrontOptions | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[tuple[Front, PublicPort]]:
    """Listen on a spare port; `replicas` are root addresses by name."""
    settings = GuardSettings.model_validate(guard or {})
    front = Front(options or FrontOptions(patience_s=0.2), PickingOptions(policy=policy), settings, keys=keys)
    for name, url in replicas.items():
        front.add(name, url)
    port = PublicPort(front, settings.limits, most_held_bytes)
    await port.open("127.0.0.1", 0, tls)
    try:
        yield front, port
    finally:
        await port.close(drain_s=1.0)
