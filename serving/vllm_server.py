"""The engine's process: vLLM's own OpenAI server, made safe to own.

    python -m serving.vllm_server --parent PID <vLLM flags>

Before vLLM starts, the kernel is asked for the AMX registers (see serving.amx) and to end this process
with its launcher; on a CPU its processes sleep while they wait (see serving.waiting).
Workers that vLLM forks or spawns run this module's head too, so both hold for them.
"""

from __future__ import annotations

import sys

from serving.amx import request_tiles
from serving.processes import die_with_parent
from serving.waiting import sleep_while_waiting

request_tiles()
sleep_while_waiting()


def main() -> None:
    """Take our own argument off the command line and hand over to vLLM."""
    if sys.argv[1:2] == ["--parent"]:
        die_with_parent(expected_parent=int(sys.argv[2]))
        del sys.argv[1:3]
    from vllm.entrypoints.launchers.api_server.entry import main as serve

    serve()


if __name__ == "__main__":
    main()
