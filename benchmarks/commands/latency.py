"""`benchmarks latency`: curves over concurrency, the knee, the best rate within the SLO."""

from __future__ import annotations

from typing import Annotated

import typer

from quantserve.benchmarks.commands import parameters as p
from quantserve.core.options import spread


@spread
def latency(
    base_url: p.BaseUrl = p.DEFAULT_URL,
    model: p.Model = None,
    api_key: p.ApiKey = None,
    pid: p.Pid = None,
    workload: p.WorkloadText = p.DEFAULT_WORKLOAD,
    users: Annotated[int | None, typer.Option(min=1, help="highest concurrency of the sweep")] = None,
    slo: p.SloText = "ttft=2s,tpot=250ms",
    processes: p.Processes = None,
    *,
    recorded: p.RecordedQuick,
) -> None:
    """Curves over concurrency, the knee, and the highest rate that meets the SLO, for one server."""
    import dataclasses

    from quantserve.benchmarks.programs import common
    from quantserve.benchmarks.programs import latency as program
    from quantserve.benchmarks.servers import attach
    from quantserve.benchmarks.workload.spec import parse as parse_workload

    how = program.QUICK if recorded.quick else program.LatencyOptions()
    if users is not None:
        how = dataclasses.replace(how, highest_users=users)
    options = dataclasses.replace(recorded.options(3), slo=common.parse_slo(slo), processes=processes)
    common.judged(
        program.measure(attach(base_url, model, api_key, pid), parse_workload(workload), options, how)
    )
