"""Fake OpenAI server with set time to first token, inter-token time, queue and failures.

    python -m tests.fakes_load.server --port 0 --ready-file F --ttft-ms 50 --itl-ms 10 --truth T.jsonl

Every token is written at a planned time; the truth file says for each request when it was received
and when each chunk was really written, by the same clock the client uses. Deliberately primitive
(httptools, uvloop, precomputed bytes) so that it is faster than any client measured with it.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import signal
from pathlib import Path

import uvloop

from tests.fakes_load.behaviour import Knobs, State
from tests.fakes_load.connection import Connection


async def serve(knobs: Knobs, port: int, ready_file: Path | None, truth: Path | None) -> None:
    """Serve until SIGTERM."""
    loop = asyncio.get_running_loop()
    state = State(knobs, truth)
    server = await loop.create_server(lambda: Connection(state), "127.0.0.1", port, backlog=4096)
    port = server.sockets[0].getsockname()[1]
    if ready_file is not None:
        aside = ready_file.with_suffix(".tmp")
        aside.write_text(
            json.dumps(
                {"url": f"http://127.0.0.1:{port}/v1", "port": port, "pid": os.getpid(), "model": "fake"}
            )
        )
        aside.rename(ready_file)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    if state.truth is not None:
        state.truth.close()


def main() -> None:
    """Parse the knobs and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ready-file", type=Path)
    parser.add_argument("--truth", type=Path)
    for field in dataclasses.fields(Knobs):
        flag = f"--{field.name.replace('_', '-')}"
        if isinstance(field.default, bool):
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag, type=type(field.default), default=field.default)
    options = vars(parser.parse_args())
    port, ready_file, truth = (options.pop(name) for name in ("port", "ready_file", "truth"))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(Knobs(**options), port, ready_file, truth))


if __name__ == "__main__":
    main()
