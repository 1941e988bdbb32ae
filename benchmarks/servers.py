"""Servers under test: started here, or already running somewhere.

Ours is started by `quantserve serving serve` in the serving environment, exactly as it is deployed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from quantserve.benchmarks.errors import ServerUnusable
from quantserve.benchmarks.observe.owners import Owners, owners_of
from quantserve.core.home import CHECKOUT, python_of
from quantserve.core.process import ProgramFailed, running, served

OFFLINE = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
"""Neither a measured server nor an instrument may spend its time on calling home."""
_ABSOLUTE = re.compile(r"(?<![\w.:/])/[^\s:=,'\"]+")


def serving_python() -> str:
    """The serving environment's interpreter."""
    return str(python_of("serving"))


@dataclasses.dataclass(frozen=True)
class Server:
    """A server that answers."""

    base_url: str
    model: str
    pids: tuple[int, ...] = ()
    """Roots of its process trees on this machine; empty when they are not known."""
    api_key: str | None = None
    info: dict[str, Any] = dataclasses.field(default_factory=dict)
    """argv, environment, seconds until ready, artifact version: what a report shows of it."""


def attach(base_url: str, model: str | None, api_key: str | None, pid: int | None = None) -> Server:
    """Use a running server; asks it for its model when none is named.

    Its processes are looked for behind its port, unless `pid` names the root of their tree: without them
    nobody can say how busy everything else on the machine was.

    Raises:
        ServerUnusable: it does not answer or has no model.
    """
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        reply = httpx.get(f"{base_url.rstrip('/')}/models", headers=headers, timeout=15.0, trust_env=False)
        reply.raise_for_status()
        names = [entry["id"] for entry in reply.json()["data"]]
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise ServerUnusable(
            f"{base_url} is no OpenAI-compatible server that answers ({error})",
            mend="Start one: quantserve serving up TARGET, or give --base-url",
        ) from error
    if not names and model is None:
        raise ServerUnusable(f"{base_url} serves no model")
    found = owners_of(base_url) if pid is None else Owners((pid,))
    info = {"attached": True, **({"processes_unknown": found.unknown} if found.unknown else {})}
    return Server(base_url.rstrip("/"), model or names[0], found.pids, api_key, info)


@contextlib.contextmanager
def ours(target: str, extra: Sequence[str] = (), profile: str | None = None) -> Iterator[Server]:
    """Serve an artifact or checkpoint directory with our launcher; gone when the block ends.

    Raises:
        ServerUnusable: it did not become ready; the message holds the log's telling line.
    """
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="quantserve-bench-") as folder, _told():
        words = ["--profile", profile] if profile else []
        with served(
            target, python_of("serving"), Path(folder), words=words, engine=extra, env=OFFLINE
        ) as server:
            state = server.state
            yield Server(
                base_url=server.base_url,
                model=server.model,
                pids=(server.process.pid,),
                info={
                    "argv": public(state.get("argv") or []),
                    "env": state.get("env") or {},
                    "ready_s": state.get("ready_s") or time.perf_counter() - began,
                    "version": state.get("version"),
                    "kv_cache_tokens": state.get("kv_cache_tokens"),
                },
            )


@contextlib.contextmanager
def command(
    argv: Sequence[str],
    env: dict[str, str],
    port: int,
    model: str | None = None,
    api_key: str | None = None,
) -> Iterator[Server]:
    """Run any server's command; ready when it has decoded one token.

    Raises:
        ServerUnusable: it died or did not become ready in time.
    """
    base_url = f"http://127.0.0.1:{port}/v1"
    found: list[Server] = []
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    def answers() -> bool:
        try:
            server = attach(base_url, model, api_key, os.getpid())  # its process is known below
            body = {"model": server.model, "prompt": "Hello", "max_tokens": 1}
            reply = httpx.post(
                f"{base_url}/completions", json=body, headers=headers, timeout=120.0, trust_env=False
            )
        except (ServerUnusable, httpx.HTTPError):
            return False
        if reply.status_code == 200:
            found.append(server)
        return bool(found)

    began = time.perf_counter()
    with (
        tempfile.TemporaryDirectory(prefix="quantserve-bench-") as folder,
        _told(),
        running(argv, Path(folder) / "log", answers, env={**OFFLINE, **env}) as process,
    ):
        info = {"argv": public(argv), "env": env, "ready_s": time.perf_counter() - began}
        yield dataclasses.replace(found[0], pids=(process.pid,), info=info)


def free_port() -> int:
    """A port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Say of a server that does not start that it cannot be measured."""
    try:
        yield
    except ProgramFailed as error:
        raise ServerUnusable(f"the server does not start: {error.problem}", mend=error.mend) from error


def public(argv: Sequence[str]) -> list[str]:
    """Arguments without the folders of this machine: files elsewhere keep their name alone."""
    shown = [str(arg) for arg in argv]
    for folder in dict.fromkeys(f"{path}/" for path in (CHECKOUT, Path.cwd()) if path is not None):
        shown = [arg.replace(folder, "") for arg in shown]
    return [_ABSOLUTE.sub(lambda path: _name_of(path[0]), arg) for arg in shown]


def _name_of(path: str) -> str:
    return Path(path).name if Path(path).exists() else path
