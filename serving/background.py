"""Start and stop the one background server of a run directory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from quantserve.core.console import console
from quantserve.core.files import open_private, private_folder
from quantserve.core.logs import last_words, read_tail, telling_line
from quantserve.serving.config import RunDirectory, ServeOptions
from quantserve.serving.errors import EngineDied, EngineNotReady, ServingError
from quantserve.serving.health import decode_probe
from quantserve.serving.prepare import request_of
from quantserve.serving.processes import process_alive
from quantserve.serving.state import ServerState, read_state

_ROOT = Path(__file__).resolve().parents[1]
_POLL_S = 0.1
_STOP_MARGIN_S = 60.0
"""Time a launcher gets to end beyond its drain."""


def serve_argv(target: Path, options: ServeOptions, run: RunDirectory, ready_timeout_s: float) -> list[str]:
    """Return the command that serves in the foreground what the user asked for in the background."""
    words = [
        sys.executable,
        "-m",
        "quantserve.serving",
        "serve",
        str(target.absolute()),
    ]  # a link stays one, for restart
    words += ["--host", options.host, "--port", str(options.port), "--run-dir", str(run.path.resolve())]
    words += ["--state-file", str(run.state.resolve()), "--log", str(run.log.resolve())]
    words += ["--ready-timeout-s", str(ready_timeout_s)]
    if options.profile is not None:
        words += ["--profile", options.profile]
    if options.served_model_name is not None:
        words += ["--served-model-name", options.served_model_name]
    if options.full_check:
        words.append("--full-check")
    if options.keys is not None:
        words += ["--keys", options.keys]
    if options.guard is not None:
        words += ["--guard", options.guard]
    if options.private:
        words.append("--private")
    for adapter in options.lora:
        words += ["--lora", adapter]
    if options.restart_limit is not None:
        words += ["--restart-limit", str(options.restart_limit)]
    if options.probe_interval_s != ServeOptions.probe_interval_s:
        words += ["--probe-interval-s", str(options.probe_interval_s)]
    if options.replicas > 1:
        words += ["--replicas", str(options.replicas), "--policy", options.policy]
    return [*words, "--", *options.vllm_args] if options.vllm_args else words


def request_options(state: ServerState) -> ServeOptions:
    """Return the options a server was asked for with, as `up` got them."""
    asked = {name: value for name, value in state.request.items() if name != "target"}
    lists = {name: tuple(value) for name, value in asked.items() if isinstance(value, list)}
    return ServeOptions(**{**asked, **lists})


def same_server(state: ServerState, target: Path, options: ServeOptions) -> bool:
    """Whether what runs is what is asked for now."""
    return state.request == request_of(target, options)


def can_roll(state: ServerState, target: Path, options: ServeOptions) -> bool:
    """Whether only the target differs and several replicas run, so that they can be replaced one by one."""
    wanted = {**request_of(target, options), "target": state.request.get("target")}
    return bool(state.replicas) and state.status == "ready" and state.request == wanted


def answers(state: ServerState, timeout_s: float = 20.0) -> bool:
    """Whether a ready server really decodes."""
    return state.status == "ready" and decode_probe(state.url, state.model, timeout_s).ok


def spawn(target: Path, options: ServeOptions, run: RunDirectory, ready_timeout_s: float) -> int:
    """Start the launcher in its own session with its output in the log; return its process id."""
    private_folder(run.path)
    with open_private(run.log, "wb") as log:
        process = subprocess.Popen(
            serve_argv(target, options, run, ready_timeout_s),
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return process.pid


def start(target: Path, options: ServeOptions, run: RunDirectory, ready_timeout_s: float) -> ServerState:
    """Start in the background and wait until it is ready; Ctrl-C stops it again.

    Raises:
        EngineDied, EngineNotReady: as `wait_ready`.
    """
    pid = spawn(target, options, run, ready_timeout_s)
    try:
        return wait_ready(pid, run, ready_timeout_s)
    except KeyboardInterrupt:
        os.kill(pid, signal.SIGTERM)
        raise


def wait_ready(pid: int, run: RunDirectory, ready_timeout_s: float) -> ServerState:
    """Wait until the launcher `pid` says ready.

    Raises:
        EngineDied: it ended first; the message is its log's most telling line.
        EngineNotReady: it took too long; it is stopped.
    """
    begun = time.monotonic()
    with console.status("starting the engine …") as shown:
        while time.monotonic() - begun < ready_timeout_s + 60:
            state = read_state(run.state)
            if state is not None and state.pid == pid and state.status == "ready":
                return state
            if not process_alive(pid):
                raise _why_it_died(run.log)
            shown.update(f"starting the engine … {time.monotonic() - begun:.0f} s")
            time.sleep(_POLL_S)
    os.kill(pid, signal.SIGTERM)
    raise EngineNotReady("the server did not become ready", mend=f"Read {run.log}")


def _why_it_died(log: Path) -> ServingError:
    """The launcher's own last words, which already name the engine's complaint, or the telling line."""
    text = read_tail(log)
    if words := last_words(text):
        return EngineDied(words)
    return EngineDied(f"the server died while starting: {telling_line(text)}", mend=f"Read {log}")


def stop(state: ServerState) -> float:
    """Drain and stop a server; return the seconds it took.

    Raises:
        ServingError: it did not end in time.
    """
    begun, limit_s = time.monotonic(), state.drain_s + _STOP_MARGIN_S
    if state.status != "stopping":  # a second signal would cut running requests off
        os.kill(state.pid, signal.SIGTERM)
    while state.alive:
        if time.monotonic() - begun > limit_s:
            raise ServingError(
                f"process {state.pid} did not end within {limit_s:.0f} s",
                mend=f"kill -9 {state.pid} ends it and the engine",
            )
        time.sleep(_POLL_S)
    return time.monotonic() - begun
