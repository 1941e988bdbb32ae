"""Any load on any server: the general program behind `quantserve benchmarks run`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quantserve.benchmarks.load.spec import Load
from quantserve.benchmarks.measure import CellOptions
from quantserve.benchmarks.programs.common import RunOptions, begin, finish, measure_loads
from quantserve.benchmarks.servers import Server
from quantserve.benchmarks.workload.spec import Workload


def measure(
    server: Server,
    workload: Workload,
    loads: Sequence[Load],
    options: RunOptions,
    base: CellOptions,
) -> dict[str, Any]:
    """Measure each load, `options.repeats` times in turn, and write the report; return the metrics."""
    options = options.settled()
    details = {"workload": workload.text, "loads": [load.text for load in loads]}
    run, bench = begin(
        "run", f"{server.model} under {', '.join(load.text for load in loads)}", options, details
    )
    with bench.showing():
        for repeat in range(options.repeats):
            measure_loads(
                bench,
                server,
                server.info.get("version") or server.model,
                workload,
                [(load, base.requests) for load in loads],
                options,
                repeat=repeat,
                warmup=base.warmup,
                base=base,
            )
    return finish(run, None)
