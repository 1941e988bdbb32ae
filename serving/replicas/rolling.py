"""Replace every replica by one of another version, one after another, while the others serve."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from quantserve.core.errors import QuantserveError
from quantserve.serving.errors import EngineDied
from quantserve.serving.replicas import metrics
from quantserve.serving.replicas.config import say
from quantserve.serving.replicas.control import Roll
from quantserve.serving.replicas.fitting import Fit, Lane, fit_again, fits_beside

if TYPE_CHECKING:
    from quantserve.serving.replicas.replica import Replica
    from quantserve.serving.replicas.supervisor import Supervisor


def spare_lane(lanes: tuple[Lane, ...], used: list[Lane], old: Lane, *, room: bool) -> Lane | None:
    """Return where a new replica can run beside the old ones, None when an old one must end first. Pure.

    A lane nobody uses comes first; processors can be shared for a while when there is `room` in memory,
    GPUs cannot, since an engine takes their memory whole.
    """
    for lane in lanes:
        if lane not in used:
            return lane
    return old if room and not old.gpus else None


async def roll(supervisor: Supervisor, request: Roll) -> None:
    """Make one rolling restart and write into the state what came of it.

    A version that does not fit or does not start changes nothing: the old replicas go on.
    """

    def note(status: str, message: str, **fields: object) -> None:
        rolling = {"id": request.id, "status": status, "message": message}
        supervisor.record(rolling=rolling, **fields)
        say(f"rolling restart: {message}")

    run = supervisor.settings.run
    try:
        note("running", f"looking at {request.target}")
        fit = await asyncio.to_thread(fit_again, supervisor.fit, Path(request.target), run)
        old_ones = list(supervisor.replicas)
        for count, old in enumerate(old_ones, start=1):
            note("running", f"replica {count} of {len(old_ones)}")
            await _replace(supervisor, old, fit)
    except QuantserveError as error:
        metrics.ROLLED.labels("failed").inc()
        note("failed", str(error))
        return
    supervisor.fit = fit
    metrics.ROLLED.labels("done").inc()
    before = supervisor.state
    note(
        "done",
        f"all replicas are {fit.target.version or fit.target.directory.name} now",
        target=str(fit.target.directory),
        version=fit.target.version,
        given_target=request.given,
        request={**before.request, "target": str(fit.target.directory)},
    )


async def _replace(supervisor: Supervisor, old: Replica, fit: Fit) -> None:
    """Replace one.

    Raises:
        EngineDied, EngineNotReady: the new one did not start; the old one still serves, or does again.
    """
    run = supervisor.settings.run
    room = not old.lane.gpus and await asyncio.to_thread(fits_beside, fit, run)
    used = [replica.lane for replica in supervisor.replicas]
    lane = spare_lane(fit.lanes, used, old.lane, room=room)
    if lane is None:
        say(f"no room for another replica: {old.number} ends before its successor starts")
        await supervisor.retire(old)
        try:
            await _start(supervisor, old.lane, fit)
        except QuantserveError:
            await _start(supervisor, old.lane, old.fit)
            raise
        return
    await _start(supervisor, lane, fit)
    await supervisor.retire(old)


async def _start(supervisor: Supervisor, lane: Lane, fit: Fit) -> None:
    """Start a replica and return once it gets requests.

    Raises:
        EngineDied, EngineNotReady: it never became ready; it is gone.
    """
    replica = supervisor.new_replica(lane, fit)
    task = supervisor.launch(replica)
    ready = asyncio.create_task(replica.ready.wait())
    try:
        await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
        if not replica.ready.is_set():
            if task.done():
                task.result()
            raise EngineDied(f"replica {replica.number} ended while starting")
    except QuantserveError:
        await supervisor.discard(replica)
        raise
    finally:
        ready.cancel()
