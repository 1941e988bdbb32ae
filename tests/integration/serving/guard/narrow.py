"""A guarded server in a process with few open files: python -m … SOFT HARD MAX_REQUESTS; prints its port."""

from __future__ import annotations

import resource
import sys
import time

from quantserve.serving.processes import raise_file_limit
from tests.integration.serving.guard.app import GuardedServer

if __name__ == "__main__":
    soft, hard, most = (int(word) for word in sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    raise_file_limit()
    server = GuardedServer(limits={"max_requests": most})
    print(server.port, flush=True)
    while sys.stdin.readline():
        time.sleep(0)
    server.close()
