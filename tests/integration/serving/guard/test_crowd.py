"""More streaming users than the queue takes: each is answered, the last ones with 429."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter

BODY = json.dumps({"model": "m", "prompt": "wait", "stream": True}).encode()
HEAD = (
    b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n" % len(BODY)
)


async def statuses(port: int, users: int) -> Counter[bytes]:
    """Ask as so many users at once, who all stay; return how often each status came."""
    found: Counter[bytes] = Counter()
    answered = asyncio.Event()

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD + BODY)
        found[(await reader.readline()).split()[1]] += 1
        if found.total() == users:
            answered.set()
        await answered.wait()
        writer.close()

    await asyncio.wait_for(asyncio.gather(*(ask() for _ in range(users))), 60)
    return found


def test_a_process_with_few_open_files_still_refuses_the_crowd() -> None:
    words = [sys.executable, "-m", "tests.integration.serving.guard.narrow", "100", "1000", "200"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        try:
            assert asyncio.run(statuses(port, 400)) == {b"200": 200, b"429": 200}
        finally:
            server.kill()
