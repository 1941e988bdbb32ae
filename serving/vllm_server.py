"""The engine's process: vLLM's own OpenAI server, made safe to own.

    python -m quantserve.serving.vllm_server --parent PID <vLLM flags>

It takes connections on the socket it inherits from the launcher, and so binds none of its own.
Before vLLM starts, the kernel is asked to end this process with its launcher, and for the AMX registers
(serving.amx), which the engine core and the workers have then too. On a CPU those are forked
(serving.forking).
"""

from __future__ import annotations

import os
import sys

from quantserve.serving import forking, zen
from quantserve.serving.amx import request_tiles
from quantserve.serving.guard.launcher_line import LINE_VARIABLE, LISTENER_VARIABLE, inherited
from quantserve.serving.processes import die_with_parent, raise_file_limit
from quantserve.serving.supervise.children import reporter, reporting_uncaught, watch_children
from quantserve.serving.waiting import sleep_while_waiting

_PRIVATE = (LISTENER_VARIABLE, LINE_VARIABLE)


def prepare() -> None:
    """Do what must hold in every process of the engine."""
    request_tiles()
    zen.prepare()
    if forking.wanted():
        forking.fork_instead_of_spawning()
    sleep_while_waiting()


def main() -> None:
    """Take our own argument off the command line and hand over to vLLM."""
    if sys.argv[1:2] == ["--parent"]:
        die_with_parent(expected_parent=int(sys.argv[2]))
        del sys.argv[1:3]
    if forking.wanted():
        with forking.bound():
            prepare()
            forking.start_fork_server(*(int(os.environ[name]) for name in _PRIVATE if name in os.environ))
    else:
        prepare()
    raise_file_limit()
    listener = inherited(LISTENER_VARIABLE)
    import uvicorn.config

    from quantserve.core.http.connections import ConnectionBounds, Connections, bounded_protocol
    from quantserve.serving.guard.settings import from_environment

    limits = from_environment().limits
    bounds = ConnectionBounds(limits.max_header_bytes, limits.header_timeout_s)

    # vLLM has no option for uvicorn's protocol either; it leaves the choice to this table.
    uvicorn.config.HTTP_PROTOCOLS["auto"] = bounded_protocol(Connections(bounds))  # type: ignore[assignment]
    from vllm.entrypoints.launchers import launcher
    from vllm.entrypoints.launchers.api_server.entry import main as serve

    if listener is not None:
        # vLLM 0.32 has no option for a socket that exists; were this function renamed, its own bind would
        # fail loudly, since the launcher holds the port.
        setattr(launcher, "create_server_socket", lambda _address, *, reuse_port: listener)  # noqa: B010
    report = reporter()
    watch_children(report)
    with reporting_uncaught(report):
        serve()


if __name__ == "__main__":
    main()
else:
    # multiprocessing runs this module in each process that vLLM spawns
    prepare()
