"""`serving status`: what runs, is it really alive, how busy is it."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import typer
from rich.table import Table

from quantserve.core.console import console, emit_json, styled
from quantserve.serving.commands import parameters as p
from quantserve.serving.config import RunDirectory
from quantserve.serving.guard.internal import use_internal_key
from quantserve.serving.health import decode_probe, read_metrics
from quantserve.serving.state import ServerState, read_state

_PROBE_TIMEOUT_S = 20.0


def status(json_output: p.JsonOption = False, run_dir: p.RunDirOption = p.RUN.path) -> None:
    """Show url, model, version, uptime, readiness by a decoded token, load. Exit code 1 unless ready."""
    use_internal_key(run_dir)
    state = read_state(RunDirectory(run_dir).state)
    report = {"running": False, "ready": False} if state is None else describe(state)
    if json_output:
        emit_json(report)
    else:
        _print(report)
    raise typer.Exit(0 if report["ready"] else 1)


def describe(state: ServerState) -> dict[str, Any]:
    """Ask the server itself for everything the state file cannot know."""
    ready = False
    seconds: float | None = None
    problem: str = state.status
    if state.status == "restarting":
        problem = f"restarting, since {state.last_failure}"
    if state.status == "ready":
        probe = decode_probe(state.url, state.model, _PROBE_TIMEOUT_S)
        ready, seconds, problem = probe.ok, probe.seconds, probe.problem
    metrics = read_metrics(state.url)
    return {
        "running": True,
        "status": state.status,
        "ready": ready,
        "problem": problem if not ready else None,
        "token_seconds": seconds,
        "url": state.base_url,
        "model": state.model,
        "version": state.version,
        "target": state.target,
        "profile": state.profile,
        "dtype": state.dtype,
        "uptime_s": round(time.time() - state.started_at, 1),
        "ready_s": state.ready_s,
        "requests_running": metrics.running,
        "requests_waiting": metrics.waiting,
        # Prometheus sums over the replicas; of a share that is no share
        "kv_cache_usage": metrics.kv_usage and metrics.kv_usage / max(1, len(state.replicas)),
        "kv_cache_tokens": state.kv_cache_tokens,
        "pid": state.pid,
        "engine_pid": state.engine_pid,
        "log": state.log,
        "replicas": state.replicas,
        "policy": state.policy,
        "rolling": state.rolling,
        "restarts": state.restarts,
        "last_failure": state.last_failure,
        "last_probe": None if state.last_probe is None else asdict(state.last_probe),
    }


def _print(report: dict[str, Any]) -> None:
    if not report["running"]:
        console.print("no server is running; start one: quantserve serving up TARGET")
        return
    table = Table(show_header=False, box=None)
    if report["ready"]:
        alive = f"yes, a token came in {report['token_seconds']:.2f} s"
    else:
        alive = f"no: {report['problem']}"
    usage = report["kv_cache_usage"]
    rows = {
        "ready": alive,
        "url": report["url"],
        "model": f"{report['model']} ({report['version'] or 'plain checkpoint'})",
        "target": report["target"],
        "up for": f"{report['uptime_s']:.0f} s (ready after {report['ready_s']} s)",
        "requests": f"{_known(report['requests_running'])} running, "
        f"{_known(report['requests_waiting'])} waiting",
        "KV cache": f"{_known(usage, '.1%')} of {_known(report['kv_cache_tokens'])} tokens in use",
        "computes in": f"{report['dtype']} (profile {report['profile']})",
        "processes": f"launcher {report['pid']}, engine {report['engine_pid']}",
        **_replica_rows(report),
        "restarts": report["restarts"]
        if report["last_failure"] is None
        else f"{report['restarts']}, last because {report['last_failure']}",
        "last probe": _probe_words(report["last_probe"]),
        "log": report["log"],
    }
    for name, value in rows.items():
        table.add_row(styled((name, "bold")), str(value))
    console.print(table)


def _replica_rows(report: dict[str, Any]) -> dict[str, str]:
    """One line for the supervisor and one for each replica; none for a server alone."""
    if not report["replicas"]:
        return {}
    rows = {"processes": f"supervisor {report['pid']}, which chooses a replica by {report['policy']}"}
    for replica in report["replicas"]:
        bound = f", processors {replica['cpus']}" if replica["cpus"] else f", GPUs {replica['gpus']}"
        rows[f"replica {replica['replica']}"] = (
            f"{replica['status']}, {replica['version'] or 'plain checkpoint'}, {replica['url']}"
            f", engine {replica['engine_pid']}{bound}, restarts {replica['failures']}"
        )
    if report["rolling"] is not None:
        rows["last rolling restart"] = f"{report['rolling']['status']}: {report['rolling']['message']}"
    return rows


def _probe_words(probe: dict[str, Any] | None) -> str:
    if probe is None:
        return "none yet"
    ago = f"{max(0.0, time.time() - probe['at']):.0f} s ago"
    return f"a token in {probe['seconds']:.2f} s, {ago}" if probe["ok"] else f"{probe['problem']}, {ago}"


def _known(value: float | None, form: str = "") -> str:
    return "unknown" if value is None else format(value, form)
