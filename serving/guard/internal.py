"""The supervisor's own key: its probe passes the guard, with or without keys, and when the queue is full.

It is made anew for no one: a file only its owner can read keeps it in the run directory, so that `status` and
`up` in another process ask with it, too. The engine's process is told its hash.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from quantserve.core.files import private_folder

INTERNAL_PREFIX = "qs-internal-"
VARIABLE = "QUANTSERVE_INTERNAL_KEY"


def use_internal_key(run: Path) -> str:
    """Return the key of a run directory, made on first use, and have this process's probes use it."""
    path = run / "internal.key"
    private_folder(run)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        key = path.read_text(encoding="ascii").strip()
    else:
        key = INTERNAL_PREFIX + secrets.token_urlsafe(32)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(key)
    if not key.startswith(INTERNAL_PREFIX):  # a process that died between making and writing left it empty
        path.unlink(missing_ok=True)
        return use_internal_key(run)
    os.environ[VARIABLE] = key
    return key


def probe_headers(api_key: str | None = None) -> dict[str, str]:
    """Return the header of a probe: the key given, or the one `use_internal_key` found."""
    key = api_key or os.environ.get(VARIABLE)
    return {"Authorization": f"Bearer {key}"} if key else {}


FRONT_HEADER = "X-Quantserve-Front"
"""By this header, with the key as its value, the front before replicas shows itself; only then is believed
what it says of a client."""


def front_headers(client: str | None) -> dict[str, str]:
    """Return what the front adds to a request that it hands on: who it is, and whom it speaks for."""
    headers = {FRONT_HEADER: os.environ.get(VARIABLE, "")}
    return {**headers, "X-Forwarded-For": client} if client else headers
