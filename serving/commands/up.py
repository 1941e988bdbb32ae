"""`serving up`: serve in the background, return when a token has been decoded."""

from __future__ import annotations

from pathlib import Path

from quantserve.core.console import console, emit_json
from quantserve.serving.background import answers, can_roll, same_server, start, stop, wait_ready
from quantserve.serving.commands import parameters as p
from quantserve.serving.commands.say import warn
from quantserve.serving.config import RunDirectory, ServeOptions
from quantserve.serving.guard.internal import use_internal_key
from quantserve.serving.ports import claim_port
from quantserve.serving.prepare import prepare
from quantserve.serving.replicas.control import ask_to_roll
from quantserve.serving.state import ServerState, read_state


def up(
    target: p.TargetArgument,
    vllm_args: p.VllmArgument = None,
    host: p.HostOption = p.SERVE.host,
    port: p.PortOption = p.SERVE.port,
    profile: p.ProfileOption = p.SERVE.profile,
    served_model_name: p.NameOption = p.SERVE.served_model_name,
    full_check: p.FullCheckOption = p.SERVE.full_check,
    keys: p.KeysOption = p.SERVE.keys,
    guard: p.GuardOption = p.SERVE.guard,
    private: p.PrivateOption = p.SERVE.private,
    lora: p.LoraOption = None,
    replicas: p.ReplicasOption = None,
    policy: p.PolicyOption = None,
    restart_limit: p.RestartLimitOption = p.SERVE.restart_limit,
    probe_interval_s: p.ProbeIntervalOption = p.SERVE.probe_interval_s,
    run_dir: p.RunDirOption = p.RUN.path,
) -> None:
    """Serve TARGET in the background. The same target already running is left alone, another is replaced."""
    run = RunDirectory(run_dir)
    options = p.serve_options(host, port, profile, served_model_name, full_check, vllm_args)
    options = p.with_lora(p.guarded(options, keys, guard, private, run_dir), lora)
    options = p.watched(options, restart_limit, probe_interval_s)
    with run.changing():
        use_internal_key(run.path)  # so that the probe of what runs is let in where keys are asked for
        running = read_state(run.state)
        options = p.replicated(options, replicas, policy, running)
        if running is not None and same_server(running, target, options):
            if running.status in ("starting", "restarting"):
                report(wait_ready(running.pid, run, p.LAUNCHER.ready_timeout_s), "is up")
                return
            if answers(running):
                report(running, "is already up")
                return
        if running is None or (running.host, running.port) != (host, port):
            claim_port(host, port)
        if running is not None and can_roll(running, target, options) and answers(running):
            report(ask_to_roll(running, target, run), "is up on every replica")
            return
        check(target, options, run)  # refuse what cannot work while the old one still serves
        if running is not None:
            console.print(f"stopping {running.model} {running.version or ''} (running requests finish)")
            stop(running)
        claim_port(host, port)
        report(start(target, options, run, p.LAUNCHER.ready_timeout_s), "is up")


def check(target: Path, options: ServeOptions, run: RunDirectory) -> None:
    """Refuse what cannot work; nothing is started."""
    if options.replicas > 1:
        from quantserve.serving.replicas.command import (
            check_replicas,  # imports the HTTP server, which takes a while
        )

        check_replicas(target, options, run)
    else:
        warn(prepare(target, options, run)[1])


def report(state: ServerState, what: str) -> None:
    """Print where a server is, for people and, as the last line, for programs."""
    version = f" {state.version}" if state.version else ""
    console.print(
        f"{state.model}{version} {what}: {state.base_url} (ready after {state.ready_s} s, log {state.log})",
        markup=False,
        soft_wrap=True,
    )
    emit_json(state.to_json())
