"""What a user is told besides the result."""

from __future__ import annotations

from quantserve.core.console import console, styled
from quantserve.serving.command import Plan


def warn(plan: Plan) -> None:
    """Print the plan's warnings, such as that the server is open to everyone on this machine."""
    for warning in plan.warnings:
        console.print(styled(("warning:", "yellow"), f" {warning}"), soft_wrap=True)
