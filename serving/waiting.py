"""Have vLLM's waiting processes sleep where several engines share the processors.

vLLM's engine core and workers talk through shared memory. Whoever waits for a message looks again and again
without a pause (vllm.distributed.device_communicators.shm_broadcast.SpinCondition). For an engine alone that
is the fastest. Of several replicas on one machine each takes the processor that another computes on, and a
replica that starts beside busy ones hardly moves. There the wait sleeps a fraction of a millisecond between
two looks. vLLM's own way to sleep, a wake-up by socket, loses wake-ups when it is used for every message.
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
