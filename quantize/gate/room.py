"""May two engines be up at once? Decided by what the first one takes and what is free beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from quantserve.core.sizes import decimal_size

_KV_FLAG = "--kv-cache-memory-bytes"
# The launcher gives the cache a share of what is free: with this much the second gets as much as the first.
_SLACK = 1.5


@dataclass(frozen=True)
class Room:
    """The decision and its figures."""

    side_by_side: bool
    reason: str


def decide(
    *, argv: Sequence[str], first_bytes: int | None, available_bytes: int, more_weights: int, on_gpu: bool
) -> Room:
    """Decide, purely, from the first engine's command line and memory, and what is free beside it.

    first_bytes: the resident memory of the candidate's engine, which is up first. more_weights: bytes by
    which the base's weights are larger; it needs that much more than the candidate took.
    """
    if on_gpu:
        return Room(False, "an engine takes the whole GPU, so the two take turns")
    if first_bytes is None:
        return Room(False, "the candidate's memory is unknown, so the two take turns")
    needed = int((first_bytes + _kv_bytes(argv) + max(0, more_weights)) * _SLACK)
    figures = f"{decimal_size(needed)} needed for the base, {decimal_size(available_bytes)} free"
    if needed > available_bytes:
        return Room(False, f"{figures}: the two take turns")
    return Room(True, f"{figures}: both are up at once")


def _kv_bytes(argv: Sequence[str]) -> int:
    """Return the cache an engine was given; pages it has not written to are not resident yet."""
    words = list(argv)
    if _KV_FLAG not in words[:-1]:
        return 0
    value = words[words.index(_KV_FLAG) + 1]
    return int(value) if value.isdigit() else 0


def available_bytes(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the memory that can be had: the machine's, or what a container's limit leaves (cgroup v2)."""
    free: int = psutil.virtual_memory().available
    try:
        limit = (cgroup / "memory.max").read_text(encoding="ascii").strip()
        used = int((cgroup / "memory.current").read_text(encoding="ascii"))
    except (FileNotFoundError, PermissionError):
        return free
    return free if limit == "max" else min(free, int(limit) - used)
