"""The engine's process: vLLM's own OpenAI server, made safe to own.

    python -m serving.vllm_server --parent PID <vLLM flags>

It takes connections on the socket it inherits from the launcher, and so binds none of its own. Before vLLM
starts, the kernel is asked for the AMX registers (see serving.amx) and to end this process
with its launcher. Workers that vLLM forks or spawns run this module's head too, so they get the grant.
"""

from __future__ import annotations

import sys

from serving.amx import request_tiles
from serving.processes import die_with_parent
from serving.supervise.line import LISTENER_VARIABLE, inherited

request_tiles()


def main() -> None:
    """Take our own argument off the command line and hand over to vLLM."""
    if sys.argv[1:2] == ["--parent"]:
        die_with_parent(expected_parent=int(sys.argv[2]))
        del sys.argv[1:3]
    listener = inherited(LISTENER_VARIABLE)
    from vllm.entrypoints.launchers import launcher
    from vllm.entrypoints.launchers.api_server.entry import main as serve

    if listener is not None:
        # vLLM 0.32 has no option for a socket that exists; were this function renamed, its own bind would
        # fail loudly, since the launcher holds the port.
        setattr(launcher, "create_server_socket", lambda _address, *, reuse_port: listener)  # noqa: B010
    serve()


if __name__ == "__main__":
    main()
