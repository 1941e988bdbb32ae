"""This machine, from bare to answering: quantserve deploy setup | up | rollback | doctor | clean | …"""

from __future__ import annotations

import quantserve.core.interrupt  # noqa: F401  before all that takes a while

# isort: split
from typing import Annotated

import typer

from quantserve.core.console import run_app
from quantserve.core.options import spread
from quantserve.deploy.local.options import UpOptions
from quantserve.deploy.local.stages import NAMES

app = typer.Typer(
    help="This machine: environments, all stages at once, rollback.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
@spread
def up(
    options: UpOptions,
    until: Annotated[str, typer.Option(help=f"Stop after a stage: {', '.join(NAMES)}")] = "",
    only: Annotated[str, typer.Option(help="Run one stage that needs no other: setup, index")] = "",
) -> None:
    """From a bare machine to an answered question: set up, quantize, gate, promote, serve, index, ask.

    What is done and unchanged is not done again.
    """
    from quantserve.deploy.local.up import run_up

    run_up(options, until, only)


@app.command()
@spread
def rollback(options: UpOptions) -> None:
    """Put the version before back and serve it, draining the server."""
    from quantserve.deploy.local.options import check
    from quantserve.deploy.local.rollback import roll_back

    check(options)
    roll_back(options)


@app.command()
def setup(
    accel: Annotated[str, typer.Option(help="cpu or cuda; default: what this machine has")] = "",
) -> None:
    """Make the environments that the programs run in, from exact pins."""
    from quantserve.deploy.local.setup import run_setup

    run_setup(accel)


@app.command()
@spread
def doctor(options: UpOptions) -> None:
    """Say what this machine can do, and for each finding what to do about it."""
    from quantserve.deploy.local.doctor import examine
    from quantserve.deploy.local.options import check

    check(options)
    raise typer.Exit(examine(options))


@app.command()
def clean(
    everything: Annotated[bool, typer.Option("--all", help="Models and environments, too")] = False,
) -> None:
    """Stop the server and remove what was generated; sources are never touched."""
    from quantserve.deploy.local.clean import clean

    clean(everything)


@app.command(hidden=True)
def pins() -> None:
    """Compile requirements/*.in into exact pins (in a checkout)."""
    from quantserve.deploy.local.pins import compile_pins

    compile_pins()


@app.command(hidden=True)
def audit(service: Annotated[str, typer.Option(help="pypi or osv")] = "pypi") -> None:
    """Ask the advisory database about every pin (in a checkout)."""
    from quantserve.deploy.local.audit import audit

    audit(service)


@app.command(hidden=True)
def browser() -> None:
    """Install Chromium for the tests of the web page."""
    from quantserve.deploy.local.browser import provide_browser

    provide_browser()


if __name__ == "__main__":
    run_app(app, "deploy")
