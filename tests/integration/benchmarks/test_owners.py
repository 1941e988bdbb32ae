"""Whose processes a server is made of: found behind its port, on real sockets."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

from quantserve.benchmarks import processes
from quantserve.benchmarks.processes import Owners, owners_of
from tests.integration.benchmarks.conftest import Start

FORWARDER = """
import asyncio, sys
port = int(sys.argv[1])
async def pump(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
async def serve(reader, writer):
    onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.gather(pump(reader, onward_writer), pump(onward_reader, writer))
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""
SUPERVISOR = """
import os, socket, subprocess, sys
listener = socket.create_server(("127.0.0.1", 0))
engine = "import socket, time; socket.socket(fileno=%d); time.sleep(600)" % listener.fileno()
child = subprocess.Popen([sys.executable, "-c", engine], pass_fds=[listener.fileno()], start_new_session=True)
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
child.kill()
child.wait()
"""


@contextlib.contextmanager
def program(text: str, *argv: str) -> Iterator[tuple[int, int]]:
    """Run a program that prints its port; (process id, port)."""
    process = subprocess.Popen(
        [sys.executable, "-c", text, *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.pid, int(process.stdout.readline())
    finally:
        process.stdin.close()
        if not argv:
            process.wait(20)
        process.kill()
        process.wait(20)
        process.stdout.close()


def test_a_server_is_found_by_its_port(start_fake: Start) -> None:
    fake = start_fake()
    assert owners_of(fake.url) == Owners((fake.pid,))


def test_a_supervisor_that_opened_the_socket_is_the_root() -> None:
    with program(SUPERVISOR) as (pid, port):
        limit = time.monotonic() + 20
        while not psutil.Process(pid).children():
            assert time.monotonic() < limit
        assert owners_of(f"http://127.0.0.1:{port}/v1") == Owners((pid,))


def test_what_stands_behind_a_front_belongs_to_the_server(start_fake: Start) -> None:
    fake = start_fake()
    with program(FORWARDER, str(httpx.URL(fake.url).port)) as (pid, port):
        address = f"http://127.0.0.1:{port}/v1"
        with httpx.Client(trust_env=False) as client:  # its connection stays open
            assert client.get(f"{address}/models").status_code == 200
            assert owners_of(address) == Owners(tuple(sorted((pid, fake.pid))))


def test_a_front_for_another_machine_is_not_known(start_fake: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_onward", lambda _: [(40000, "192.0.2.7", 22)])
    found = owners_of(start_fake().url)
    assert found.pids == ()
    assert "passes requests on to another machine" in found.unknown


def test_another_machine_is_not_known() -> None:
    found = owners_of("http://192.0.2.7:8000/v1")
    assert found.pids == ()
    assert "another machine" in found.unknown


def test_a_port_of_somebody_else_is_not_known() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert "belongs to another user" in owners_of(f"http://127.0.0.1:{port}").unknown
