"""`benchmarks quant`: what quantizing costs and gives."""

from __future__ import annotations

from typing import Annotated

import typer

from quantserve.benchmarks.commands import parameters as p
from quantserve.core.options import spread


@spread
def quant(
    targets: Annotated[list[str], typer.Argument(help="the base, then artifacts")],
    workload: Annotated[str | None, typer.Option(help="what is asked")] = None,
    users: Annotated[str | None, typer.Option(help="concurrencies, as 1,8,32")] = None,
    price: Annotated[float | None, typer.Option(help="price of the machine per hour")] = None,
    currency: Annotated[str, typer.Option(help="its currency")] = "USD",
    profile: p.Profile = None,
    *,
    recorded: p.RecordedQuick,
) -> None:
    """What quantizing costs and gives: quality beside speed, memory, load time and price."""
    import dataclasses

    from quantserve.benchmarks.programs import common
    from quantserve.benchmarks.programs import quant as program

    how = program.QUICK if recorded.quick else program.QuantOptions()
    how = dataclasses.replace(
        how,
        workload=workload or how.workload,
        users=p.numbers(users) or how.users,
        price_per_hour=how.price_per_hour if price is None else price,
        currency=currency,
        profile=profile,
    )
    common.judged(program.measure(targets, recorded.options(3), how))
