"""`serving serve`: run the server in the foreground."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from quantserve.serving.commands import parameters as p
from quantserve.serving.commands.say import warn
from quantserve.serving.config import LauncherOptions, RunDirectory, ServeOptions
from quantserve.serving.guard.settings import VARIABLE, GuardSettings
from quantserve.serving.ports import url_of
from quantserve.serving.prepare import prepare, request_of, require_engine
from quantserve.serving.processes import start_ticks
from quantserve.serving.state import ServerState
from quantserve.serving.supervise.launcher import Launcher
from quantserve.serving.supervise.listener import Listener


def serve(
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
    ready_file: Annotated[
        Path | None, typer.Option(help="JSON written once a token has been decoded, removed at the end.")
    ] = p.LAUNCHER.ready_file,
    die_with_parent: Annotated[
        bool, typer.Option("--die-with-parent", help="Stop when the process that started this ends.")
    ] = p.LAUNCHER.die_with_parent,
    log: Annotated[
        Path | None, typer.Option(help="File for the engine's output; by default stderr.")
    ] = p.LAUNCHER.log,
    ready_timeout_s: Annotated[
        float, typer.Option(min=1, help="Give up when no token came by then.")
    ] = p.LAUNCHER.ready_timeout_s,
    restart_limit: p.RestartLimitOption = p.SERVE.restart_limit,
    probe_interval_s: p.ProbeIntervalOption = p.SERVE.probe_interval_s,
    run_dir: p.RunDirOption = p.RUN.path,
    state_file: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve TARGET in the foreground until SIGTERM or Ctrl-C, for whatever supervises it."""
    started_at = time.time()
    options = p.serve_options(host, port, profile, served_model_name, full_check, vllm_args)
    options = p.with_lora(p.guarded(options, keys, guard, private, run_dir), lora)
    options = p.watched(p.replicated(options, replicas, policy), restart_limit, probe_interval_s)
    launcher = LauncherOptions(
        log=log, ready_file=ready_file, die_with_parent=die_with_parent, ready_timeout_s=ready_timeout_s
    )
    if options.replicas > 1:
        from quantserve.serving.replicas.command import serve_replicas

        raise typer.Exit(serve_replicas(target, options, RunDirectory(run_dir), launcher, state_file))
    with Listener(host, port) as listener:
        resolved, plan = prepare(target, replace(options, port=listener.port), RunDirectory(run_dir))
        require_engine()
        warn(plan)
        listener.know(GuardSettings.model_validate_json(plan.env()[VARIABLE]), plan.tls)
        url = url_of(host, listener.port, tls=plan.tls is not None)
        state = ServerState(
            status="starting",
            url=url,
            base_url=f"{url}/v1",
            host=host,
            port=listener.port,
            pid=os.getpid(),
            pid_start=start_ticks(os.getpid()) or 0,
            engine_pid=None,
            model=plan.model,
            target=str(resolved.directory),
            version=resolved.version,
            profile=plan.profile,
            dtype=plan.dtype,
            log=str(log) if log else None,
            argv=plan.argv(sys.executable, parent=os.getpid()),
            env=plan.env(),
            request=request_of(target, options),
            started_at=started_at,
            kv_cache_tokens_planned=plan.kv_tokens,
            copies=plan.copies,
            tls_certificate=plan.tls.certfile if plan.tls is not None else None,
            drain_s=plan.drain_s,
            given_target=str(target.absolute()),
        )
        launcher = replace(watching(options, launcher), drain_s=plan.drain_s)
        raise typer.Exit(Launcher(state, listener, state_file, launcher).run())


def watching(options: ServeOptions, launcher: LauncherOptions) -> LauncherOptions:
    """Return the launcher's options with what the user asked for; a private engine is not restarted."""
    limit = options.restart_limit
    if limit is None:
        limit = 0 if options.private else launcher.restart.limit
    return replace(
        launcher,
        restart=replace(launcher.restart, limit=limit),
        probe=replace(launcher.probe, interval_s=options.probe_interval_s),
    )
