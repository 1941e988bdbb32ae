"""What a user is told besides the result."""

from __future__ import annotations

from core.console import console
from serving.command import Plan


def warn(plan: Plan) -> None:
    """Print the plan's warnings, such as that the server is open to everyone on this machine."""
    for warning in plan.warnings:
        console.print("[yellow]warning:[/] ", end="")
        console.print(warning, markup=False, soft_wrap=True)
