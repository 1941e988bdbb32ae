"""Have vLLM's waiting processes sleep where every processor computes.

vLLM's engine core and workers talk through shared memory, and whoever waits for a message spins for up to a
second before it sleeps (vllm.distributed.device_communicators.shm_broadcast.SpinCondition). Where a compute
thread is bound to each processor, the spinning process takes its time from one of them, and the others wait
for that one at the end of every matrix product. A sleeping reader is woken by a socket, in a tenth of a
millisecond; a step on a CPU takes tens of them.
"""

from __future__ import annotations

import functools
import os
from typing import Any

VARIABLE = "QUANTSERVE_SPIN_S"
"""Seconds a reader spins before it sleeps; absent, vLLM's own."""
_RECHECK_MS = 200
"""Longest sleep before the memory is looked at again, should a wake-up be lost; vLLM's own is 5,000."""


def limit_spinning() -> None:
    """Apply the variable to this process, before vLLM makes its queues."""
    text = os.environ.get(VARIABLE)
    if text is None:
        return
    from vllm.distributed.device_communicators import shm_broadcast

    condition: Any = shm_broadcast.SpinCondition
    original = condition.__init__

    @functools.wraps(original)
    def limited(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self.busy_loop_s = min(self.busy_loop_s, float(text))

    condition.__init__ = limited
    shm_broadcast.SHM_READER_RECHECK_INTERVAL_MS = _RECHECK_MS
