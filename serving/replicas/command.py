"""From `serving serve --replicas N` to a supervisor: everything checked before anything starts."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

from quantserve.core.errors import UsageError
from quantserve.serving.background import serve_argv
from quantserve.serving.config import LauncherOptions, RunDirectory, ServeOptions
from quantserve.serving.guard.internal import use_internal_key
from quantserve.serving.ports import claim_port, url_of
from quantserve.serving.prepare import request_of
from quantserve.serving.processes import start_ticks
from quantserve.serving.replicas.config import (
    POLICIES,
    PickingOptions,
    ServeArgv,
    SupervisorOptions,
    SupervisorSettings,
    say,
)
from quantserve.serving.replicas.fitting import Fit, fit_replicas
from quantserve.serving.replicas.supervisor import Supervisor
from quantserve.serving.state import ServerState


def check_replicas(target: Path, options: ServeOptions, run: RunDirectory) -> Fit:
    """Refuse what cannot work, with figures, before anything is started or stopped.

    Raises:
        UsageError, ResourceError: in one line with the mend.
    """
    if options.policy not in POLICIES:
        raise UsageError(f"--policy {options.policy!r} is unknown", mend=f"Known: {', '.join(POLICIES)}")
    return fit_replicas(target, options, run)


def serve_replicas(
    target: Path,
    options: ServeOptions,
    run: RunDirectory,
    launcher: LauncherOptions,
    state_file: Path | None,
    times: SupervisorOptions | None = None,
    serve: ServeArgv = serve_argv,
) -> int:
    """Serve in the foreground until asked to stop; return the exit code."""
    started_at = time.time()
    port = claim_port(options.host, options.port)
    use_internal_key(run.path)
    fit = check_replicas(target, options, run)
    url = url_of(options.host, port, tls=fit.tls is not None)
    state = ServerState(
        status="starting",
        url=url,
        base_url=f"{url}/v1",
        host=options.host,
        port=port,
        pid=os.getpid(),
        pid_start=start_ticks(os.getpid()) or 0,
        engine_pid=None,
        model=fit.plan.model,
        target=str(fit.target.directory),
        version=fit.target.version,
        profile=fit.profile_name,
        dtype=fit.plan.dtype,
        log=str(launcher.log) if launcher.log else None,
        argv=[],
        env={},
        request=request_of(target, options),
        started_at=started_at,
        kv_cache_tokens_planned=fit.plan.kv.tokens * options.replicas if fit.plan.kv else None,
        given_target=str(target.absolute()),
        drain_s=fit.plan.drain_s + SupervisorOptions().stop_margin_s,
        tls_certificate=fit.tls.certfile if fit.tls is not None else None,
        policy=options.policy,
    )
    for warning in fit.warnings:
        say(f"warning: {warning}")
    settings = SupervisorSettings(
        options=options,
        run=run,
        launcher=launcher,
        state_file=state_file,
        picking=PickingOptions(policy=options.policy),
        times=replace(times or SupervisorOptions(), ready_timeout_s=launcher.ready_timeout_s),
        serve=serve,
    )
    return Supervisor(state, fit, settings).run()
