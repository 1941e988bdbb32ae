"""End the engine when its launcher is killed.

    python -m quantserve.serving.reaper GRACE_S      process-group ids arrive on stdin, one a line

The launcher holds the other end of the pipe. However it dies, the kernel closes it, and every process
of the named groups is ended. `-GROUP` takes a group off the list.
"""

from __future__ import annotations

import signal
import sys

from quantserve.serving.processes import end_group


def main() -> None:
    """Read groups until the pipe closes, then end them."""
    grace_s = float(sys.argv[1])
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)  # only the pipe's end counts
    groups: set[int] = set()
    for line in sys.stdin:
        number = int(line)
        if number > 0:
            groups.add(number)
        else:
            groups.discard(-number)
    for group in groups:
        end_group(group, grace_s)


if __name__ == "__main__":
    main()
