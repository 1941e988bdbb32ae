"""`quantserve rollback`: put the version before back and serve it."""

from __future__ import annotations

from quantserve.core.console import console, styled
from quantserve.deploy.local.options import UpOptions
from quantserve.deploy.local.stages import SERVE, Stage, program, run_stage

_ROLLBACK = Stage(
    "rollback",
    lambda options, found: program("quantize", "rollback", options.name),
    lambda result: f"{result['current']} is current again",
)


def roll_back(options: UpOptions) -> None:
    """Exchange current and previous, then have the server replaced, draining it."""
    rolled = run_stage(_ROLLBACK, options, {})
    console.print(styled(("rollback", "green"), f" {_ROLLBACK.says(rolled.result)}"))
    # `artifact` stands beside `current`, as it does in what promote prints
    served = run_stage(SERVE, options, {"promote": rolled.result})
    console.print(styled(("serve", "green"), f"    {SERVE.says(served.result)}"))
