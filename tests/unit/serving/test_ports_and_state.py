from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quantserve.serving.background import request_options
from quantserve.serving.config import ServeOptions
from quantserve.serving.errors import PortTaken
from quantserve.serving.ports import claim_port, listen_on, url_of
from quantserve.serving.prepare import request_of
from quantserve.serving.processes import end_group, group_alive, process_alive
from quantserve.serving.state import LastProbe, read_state, remove_state, write_state
from tests.unit.serving.states import state


def test_taken_port_is_refused_and_its_holder_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"{port}: Address already in use \(.*process {os.getpid()}\)"):
            claim_port("127.0.0.1", port)


def test_port_zero_gives_a_spare_one() -> None:
    assert claim_port("127.0.0.1", 0) > 1023


def test_foreign_address_is_refused() -> None:
    with pytest.raises(PortTaken, match=r"203\.0\.113\.1"):
        claim_port("203.0.113.1", 0)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::1", "http://[::1]:8000"),
    ],
)
def test_url_is_one_a_client_here_can_use(host: str, url: str) -> None:
    assert url_of(host, 8000) == url


def test_state_of_a_living_launcher_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "serving.json"
    written = state(restarts=2, last_probe=LastProbe(False, None, "ReadTimeout", 1_700_000_000.0))
    write_state(path, written)
    assert read_state(path) == written


def test_server_is_started_again_with_the_options_it_was_asked_for(tmp_path: Path) -> None:
    options = ServeOptions(port=8123, keys="/k", private=False, vllm_args=("--seed", "1"))
    path = tmp_path / "serving.json"
    write_state(path, state(request=request_of(tmp_path, options)))
    read = read_state(path)
    assert read is not None
    assert request_options(read) == options


def test_state_of_a_dead_launcher_is_nothing(tmp_path: Path) -> None:
    path = tmp_path / "serving.json"
    write_state(path, state(pid_start=1))  # our id, but another process had it
    assert read_state(path) is None


@pytest.mark.parametrize("content", ["", "{}", "[]", "nonsense"])
def test_damaged_state_is_nothing(tmp_path: Path, content: str) -> None:
    path = tmp_path / "serving.json"
    path.write_text(content, encoding="utf-8")
    assert read_state(path) is None


def test_only_the_owner_removes_its_state(tmp_path: Path) -> None:
    path = tmp_path / "serving.json"
    write_state(path, state())
    remove_state(path, pid=1)
    assert path.exists()
    remove_state(path, pid=os.getpid())
    assert not path.exists()


def test_group_that_ignores_sigterm_is_ended_with_its_children() -> None:
    script = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "print('ready', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    end_group(process.pid, 0.3)
    assert not group_alive(process.pid)
    process.stdout.close()
    process.wait()


def test_reaper_ends_the_group_when_its_pipe_closes() -> None:
    sleeper = subprocess.Popen(["sleep", "60"], start_new_session=True)
    reaper = subprocess.Popen(
        [sys.executable, "-m", "quantserve.serving.reaper", "1"], stdin=subprocess.PIPE, text=True
    )
    reaper.communicate(f"{sleeper.pid}\n", timeout=10)
    assert sleeper.wait(5) == -15


def test_reaper_spares_a_group_taken_off_its_list() -> None:
    sleeper = subprocess.Popen(["sleep", "60"], start_new_session=True)
    reaper = subprocess.Popen(
        [sys.executable, "-m", "quantserve.serving.reaper", "1"], stdin=subprocess.PIPE, text=True
    )
    reaper.communicate(f"{sleeper.pid}\n-{sleeper.pid}\n", timeout=10)
    assert process_alive(sleeper.pid)
    sleeper.kill()
    sleeper.wait()


def test_zombie_is_not_alive() -> None:
    child = subprocess.Popen(["true"])
    for _ in range(100):
        if not process_alive(child.pid):
            break
        time.sleep(0.02)
    assert not process_alive(child.pid)
    child.wait()


def test_answers_on_our_listeners_are_not_held_back() -> None:
    """asyncio turns Nagle's algorithm off only where the listener says that it is TCP's."""
    held_back: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        held_back.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async def ask() -> None:
        listener = listen_on("127.0.0.1", 0)
        async with await asyncio.start_server(serve, sock=listener):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            await reader.read()
            writer.close()

    asyncio.run(ask())
    assert held_back == [1]
