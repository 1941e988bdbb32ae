"""Stands in for `serving serve` while tuning: a fake server whose speed follows from its profile.

python -m tests.integration.benchmarks.tune_engine PROFILE READY       chunked_prefill: false does not start
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from quantserve.core.files import write_json
from quantserve.serving.ports import claim_port
from quantserve.serving.profiles import load_profile
from tests.fakes_load.behaviour import Knobs
from tests.fakes_load.server import serve


async def main(profile: str, ready: Path) -> None:
    wanted = load_profile(profile)
    if not wanted.chunked_prefill:
        sys.stderr.write("serving: the engine ended with code 1 while starting: no room for the cache\n")
        sys.exit(1)
    port = claim_port("127.0.0.1", 0)
    serving = asyncio.ensure_future(serve(Knobs(itl_ms=4000 / wanted.max_sequences), port, None, None))
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            break
    url = f"http://127.0.0.1:{port}"
    write_json(ready, {"url": url, "base_url": f"{url}/v1", "model": "fake", "pid": os.getpid()})
    await serving


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
