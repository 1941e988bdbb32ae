"""One figure beside its limit, and what it means when it is beyond."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Fault(enum.Enum):
    """What a failed check means."""

    REGRESSION = "the artifact is worse than its threshold"
    ANOMALY = "the figures cannot be trusted"


@dataclass(frozen=True)
class Check:
    """One figure against its threshold."""

    name: str
    base: str
    candidate: str
    value: str
    limit: str
    passed: bool | None
    """None: reported, not judged."""
    fault: Fault = Fault.REGRESSION
    detail: str = ""
    """What a reason adds to the value."""

    @property
    def reason(self) -> str:
        """The check as a sentence, for the list of reasons."""
        told = f"{self.value} ({self.detail})" if self.detail else self.value
        return f"{self.name}: {told}, needed {self.limit}"
