"""`benchmarks quant`: what quantizing costs and gives."""

from __future__ import annotations

from typing import Annotated

import typer

from benchmarks.commands import parameters as p


def quant(
    targets: Annotated[list[str], typer.Argument(help="the base, then artifacts")],
    workload: Annotated[str | None, typer.Option(help="what is asked")] = None,
    users: Annotated[str | None, typer.Option(help="concurrencies, as 1,8,32")] = None,
    price: Annotated[float | None, typer.Option(help="price of the machine per hour")] = None,
    currency: Annotated[str, typer.Option(help="its currency")] = "USD",
    seed: p.Seed = None,
    repeats: p.Repeats = None,
    out: p.Root = p.RUNS,
    name: p.Name = None,
    quick: p.Quick = False,
) -> None:
    """What quantizing costs and gives: quality beside speed, memory, load time and price."""
    import dataclasses

    from benchmarks.programs import common
    from benchmarks.programs import quant as program

    how = program.QUICK if quick else program.QuantOptions()
    how = dataclasses.replace(
        how,
        workload=workload or how.workload,
        users=p.numbers(users) or how.users,
        price_per_hour=how.price_per_hour if price is None else price,
        currency=currency,
    )
    options = common.RunOptions(out, name, seed, repeats or (1 if quick else 3), quick=quick)
    program.measure(targets, options, how)
