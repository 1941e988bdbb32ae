"""The router's process: vllm-router, ended by the kernel with the supervisor.

python -m quantserve.serving.replicas.router_process SUPERVISOR_PID <vllm-router flags>
"""

from __future__ import annotations

import signal
import sys

from quantserve.serving.processes import die_with_parent


def main() -> None:
    """Take our own argument off the command line and hand over."""
    die_with_parent(signal.SIGKILL, expected_parent=int(sys.argv[1]))
    del sys.argv[1]
    from vllm_router.launch_router import main as route

    route()


if __name__ == "__main__":
    main()
