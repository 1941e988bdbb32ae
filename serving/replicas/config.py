"""What several replicas can be told, with their defaults. All times in seconds."""

from __future__ import annotations

from dataclasses import dataclass

from quantserve.serving.config import PART_RESTARTS, RestartOptions, ServeOptions

POLICIES = (
    "cache_aware",
    "sticky_least_loaded",
    "consistent_hash",
    "power_of_two",
    "round_robin",
    "random",
)
"""Policies of vllm-router that need nothing but the replicas."""
STICKY = frozenset({"sticky_least_loaded", "consistent_hash"})
"""Policies that follow a session's name, which the front makes from the prompt's beginning."""


@dataclass(frozen=True)
class RouterOptions:
    """vllm-router's retries and circuit breaker."""

    policy: str = ServeOptions.policy
    retries: int = 3
    breaker_failures: int = 2
    """Failures in a row after which a replica gets no requests."""
    breaker_open_s: int = 5
    health_interval_s: int = 5
    imbalance: int = 8
    """cache_aware: with this many more running requests than another, a replica gets no more for a while."""
    request_timeout_s: int = 86_400
    """A ticket lasts as long as its answer; the guard and the engine bound that."""


@dataclass(frozen=True)
class FrontOptions:
    """The public port."""

    patience_s: float = 10.0
    """Time a request waits for a replica or a router that is being replaced; then 503."""
    first_pause_s: float = 0.05
    most_pause_s: float = 0.5
    retry_after_s: int = 2
    connect_timeout_s: float = 2.0
    most_held_bytes: int = 256 << 20
    """Bodies of all requests that run or wait; more are refused until some have ended."""
    pick_timeout_s: float = 3.0
    """Time the router has to choose a replica."""


@dataclass(frozen=True)
class SupervisorOptions:
    """How replicas and router are looked after."""

    ready_timeout_s: float = 900.0
    poll_s: float = 0.1
    settle_s: float = 1.0
    """Between taking a replica out of the router and stopping it: requests on their way arrive."""
    finish_s: float = 600.0
    """Time the answers of a replica that is replaced get before it is told to drain."""
    restart: RestartOptions = PART_RESTARTS
    watch_s: float = 1.0
    """Between two looks at the router."""
    router_attempts: int = 4
    """Restarts of a router that never answered, after which the whole start fails."""
    router_silences: int = 3
    """Looks without an answer after which a router that runs is replaced."""
    stop_margin_s: float = 25.0
    """Waited beyond the drain time before a replica is killed."""
    orphan_grace_s: float = 10.0
