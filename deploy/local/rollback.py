"""Put the version before back and serve it. Run as: make rollback"""

from __future__ import annotations

from quantserve.deploy.local import settings as make_variables
from quantserve.deploy.local.stages import SERVE, Stage, program, run_stage
from quantserve.deploy.local.terminal import paint, run_main, say

_ROLLBACK = Stage(
    "rollback",
    lambda settings, found: program("quantize", "quantize", "rollback", settings.name),
    lambda result: f"{result['current']} is current again",
)


def main() -> None:
    """Exchange current and previous, then have the server replaced, draining it."""
    settings = make_variables.read()
    rolled = run_stage(_ROLLBACK, settings, {})
    say(f"{paint('rollback', 'green')} {_ROLLBACK.says(rolled.result)}")
    # `artifact` stands beside `current`, as it does in what promote prints
    served = run_stage(SERVE, settings, {"promote": rolled.result})
    say(f"{paint('serve', 'green')}    {SERVE.says(served.result)}")


if __name__ == "__main__":
    run_main(main)
