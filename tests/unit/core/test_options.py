"""Options that commands share: a dataclass spread over the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from quantserve.core.options import spread


@dataclass(frozen=True)
class Size:
    width: Annotated[int, typer.Option("--wide", min=1, help="In metres.")] = 2
    deep: bool = False


def run(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()

    @app.command()
    @spread
    def dig(place: str, size: Size, fast: bool = False) -> None:
        typer.echo(f"{place} {size} {fast}")

    ran = CliRunner().invoke(app, arguments)
    return ran.exit_code, ran.output.strip()


def test_the_fields_of_a_dataclass_are_options_of_the_command() -> None:
    assert run("here", "--wide", "3", "--deep", "--fast") == (0, "here Size(width=3, deep=True) True")


def test_a_field_that_is_not_given_keeps_its_default() -> None:
    assert run("here") == (0, "here Size(width=2, deep=False) False")


def test_a_fields_own_limits_hold() -> None:
    assert run("here", "--wide", "0")[0] == 2


def test_a_group_may_follow_parameters_that_have_a_default() -> None:
    app = typer.Typer()

    @app.command()
    @spread
    def dig(place: str = "here", *, size: Size) -> None:
        typer.echo(f"{place} {size}")

    assert CliRunner().invoke(app, ["--deep"]).output.strip() == "here Size(width=2, deep=True)"
