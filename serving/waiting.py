"""Have vLLM's waiting processes sleep where every processor computes.

vLLM's engine core and workers talk through shared memory. Whoever waits for a message looks again and again
without a pause (vllm.distributed.device_communicators.shm_broadcast.SpinCondition). Where a compute thread is
bound to each processor, that takes time from one of them, and the others wait for it at the end of every
matrix product. Here the wait sleeps a fraction of a millisecond between two looks; a step on a CPU takes tens
of them. vLLM's own way to sleep, a wake-up by socket, loses wake-ups when it is used for every message.
"""

from __future__ import annotations

import functools
import os
import time

VARIABLE = "QUANTSERVE_WAIT_S"
"""Seconds slept between two looks; absent, vLLM's own yield."""


def sleep_while_waiting() -> None:
    """Apply the variable to this process, before vLLM makes its queues."""
    text = os.environ.get(VARIABLE)
    if text is None:
        return
    from vllm.distributed.device_communicators import shm_broadcast

    if not hasattr(shm_broadcast, "sched_yield"):
        raise ImportError(f"this vLLM waits in another way; leave {VARIABLE} unset")
    shm_broadcast.sched_yield = functools.partial(time.sleep, float(text))
