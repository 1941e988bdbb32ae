"""Servers under test: started here, or already running somewhere.

Ours is started by `quantserve serving serve` in the serving environment, exactly as it is deployed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from quantserve.benchmarks.errors import BadOption, ServerNotStarted, ServerTooLarge, ServerUnusable
from quantserve.benchmarks.processes import Owners, owners_of
from quantserve.core.errors import ResourceError, UsageError
from quantserve.core.home import CHECKOUT, python_of
from quantserve.core.logs import last_words, telling_line
from quantserve.core.process import READY_TIMEOUT_S, ProgramFailed, running, served

OFFLINE = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
"""Neither a measured server nor an instrument may spend its time on calling home."""
_ASK_TIMEOUT_S = 600.0
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
def ours(
    target: str,
    extra: Sequence[str] = (),
    profile: str | None = None,
    *,
    run_dir: Path | None = None,
    ready_timeout_s: float = READY_TIMEOUT_S,
) -> Iterator[Server]:
    """Serve an artifact or checkpoint directory with our launcher; gone when the block ends.

    Args:
        target: the directory.
        extra: options of vLLM's own.
        profile: name or YAML file; None: the machine's own.
        run_dir: where the launcher finds what it knows of the machine; None: its own default.
        ready_timeout_s: seconds.

    Raises:
        ServerNotStarted: it did not become ready; the message holds the log's telling line.
    """
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="quantserve-bench-") as folder, measurable():
        words = ["--profile", profile] if profile else []
        words += ["--run-dir", str(run_dir)] if run_dir else []
        with served(
            target,
            python_of("serving"),
            Path(folder),
            words=words,
            engine=extra,
            env=OFFLINE,
            ready_timeout_s=ready_timeout_s,
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
    argv: Sequence[str], env: dict[str, str], port: int, model: str | None = None, api_key: str | None = None
) -> Iterator[Server]:
    """Run any server's command; ready when it has decoded one token.

    Raises:
        ServerNotStarted: it died or did not become ready in time.
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
        measurable(),
        running(argv, Path(folder) / "log", answers, env={**OFFLINE, **env}) as process,
    ):
        info = {"argv": public(argv), "env": env, "ready_s": time.perf_counter() - began}
        yield dataclasses.replace(found[0], pids=(process.pid,), info=info)


def ask_serving(*words: str) -> dict[str, Any]:
    """Run `quantserve serving WORDS` in its environment and return its last line, which is JSON.

    Raises:
        BadOption, ServerTooLarge, ServerUnusable: it failed; the message is its own.
    """
    asked = f"quantserve serving {words[0]}"
    try:
        done = subprocess.run(
            [serving_python(), "-m", "quantserve.serving", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ASK_TIMEOUT_S,
            check=False,
        )
    except OSError as error:
        raise ServerUnusable(
            f"{serving_python()} cannot be started ({error.strerror})", mend="Run quantserve setup"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ServerUnusable(f"{asked} has not answered within {_ASK_TIMEOUT_S:.0f} s") from error
    if done.returncode != 0:
        why = last_words(done.stderr) or telling_line(done.stderr) or f"{asked} failed without a word"
        known = {UsageError.exit_code: BadOption, ResourceError.exit_code: ServerTooLarge}
        raise known.get(done.returncode, ServerUnusable)(why)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def free_port() -> int:
    """A port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def measurable() -> Iterator[None]:
    """Say of a server that does not start that it cannot be measured."""
    try:
        yield
    except ProgramFailed as error:
        lacking = error.exit_code_of_program == ResourceError.exit_code
        kind = ServerTooLarge if lacking else ServerNotStarted
        raise kind(f"the server does not start: {error.problem}", mend=error.mend) from error


def public(argv: Sequence[str]) -> list[str]:
    """Arguments without the folders of this machine: files elsewhere keep their name alone."""
    shown = [str(arg) for arg in argv]
    for folder in dict.fromkeys(f"{path}/" for path in (CHECKOUT, Path.cwd()) if path is not None):
        shown = [arg.replace(folder, "") for arg in shown]
    return [_ABSOLUTE.sub(lambda path: _name_of(path[0]), arg) for arg in shown]


def _name_of(path: str) -> str:
    return Path(path).name if Path(path).exists() else path
