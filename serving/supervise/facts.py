"""What only the launcher knows and the engine's process shows: sent over the line, shown as metrics."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Phase = Literal["starting", "serving", "restarting", "stopping"]


@dataclass(frozen=True)
class Facts:
    """One moment of a server's life. Times in seconds; None is not known yet."""

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
