"""One replica: a whole `quantserve serving serve` on loopback, in its own folder run/replica-K/."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from quantserve.core.errors import UsageError
from quantserve.core.files import open_private, private_folder, write_text
from quantserve.core.http.origin import is_loopback
from quantserve.core.logs import last_words, read_tail
from quantserve.serving.config import LOOPBACK, RunDirectory, ServeOptions
from quantserve.serving.errors import EngineDied, EngineNotReady, PortTaken
from quantserve.serving.guard.settings import read_user_settings
from quantserve.serving.hardware.system import format_id_list
from quantserve.serving.ports import claim_port, url_of
from quantserve.serving.processes import signal_group
from quantserve.serving.replicas.config import ServeArgv
from quantserve.serving.replicas.fitting import Fit, Lane, lane_profile
from quantserve.serving.state import ServerState, read_state
from quantserve.serving.supervise.cause import Death, cause


class Replica:
    """Starts and stops one server; the supervisor decides when."""

    def __init__(self, number: int, lane: Lane, fit: Fit, home: RunDirectory, public_host: str) -> None:
        """`number` names its folder; `home` is the supervisor's run directory."""
        self.number = number
        self.lane = lane
        self.fit = fit
        self.registered = False
        self.retiring = False
        self.was_ready = False
        self.ready = asyncio.Event()
        self.failures = 0
        self._home = home
        self._public_host = public_host
        self.run = RunDirectory(home.path / f"replica-{number}")
        self._process: asyncio.subprocess.Process | None = None
        self.port = 0
        self._log_start = 0

    @property
    def name(self) -> str:
        """The label of its metrics."""
        return str(self.number)

    @property
    def url(self) -> str:
        """Its root address, on loopback."""
        return url_of(LOOPBACK, self.port)

    @property
    def pid(self) -> int | None:
        """Its launcher, which leads its process group."""
        return self._process.pid if self._process is not None else None

    @property
    def state(self) -> ServerState | None:
        """What it says of itself, None before it does."""
        found = read_state(self.run.state)
        return found if found is not None and found.pid == self.pid else None

    async def start(self, ready_timeout_s: float, serve: ServeArgv) -> None:
        """Start it; `ended` and `wait_ready` say what comes of it."""
        self.port = self._claim()
        private_folder(self.run.path)
        options = self._files()
        words = serve(self.fit.target.directory, options, self.run, ready_timeout_s)
        at = words.index("--") if "--" in words else len(words)
        words[at:at] = ["--die-with-parent"]
        environment = dict(os.environ)
        if self.lane.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(self.lane.gpus)
        self._log_start = self.run.log.stat().st_size if self.run.log.exists() else 0
        with open_private(self.run.log, "ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *words,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _claim(self) -> int:
        """Keep the port of the start before, and with it the audit log, unless somebody else has it now."""
        try:
            return claim_port(LOOPBACK, self.port)
        except PortTaken:
            return claim_port(LOOPBACK, 0)

    def _files(self) -> ServeOptions:
        """Write its profile and its guard's settings, hand it what the machine's probe found and our key."""
        path, options = self.run.path, self.fit.options
        for known, own in (
            (self._home.hardware, self.run.hardware),
            (self._home.verified, self.run.verified),
        ):
            if known.is_file() and known != own:
                shutil.copyfile(known, own)
        shutil.copy2(self._home.path / "internal.key", path / "internal.key")
        cpus = format_id_list(self.lane.cpus)
        write_text(
            path / "profile.yaml",
            yaml.safe_dump(lane_profile(self.fit.profile, self.lane, cpus), allow_unicode=True),
        )
        user = read_user_settings(Path(options.guard) if options.guard is not None else None)
        write_text(
            path / "guard.yaml",
            yaml.safe_dump(guard_settings(user, self.number, self._public_host)),
            private=True,
        )
        return replace(
            options,
            port=self.port,
            profile=str((path / "profile.yaml").resolve()),
            guard=str((path / "guard.yaml").resolve()),
        )

    async def wait_ready(self, timeout_s: float, poll_s: float) -> None:
        """Return once it has decoded a token.

        Raises:
            EngineDied, EngineNotReady: with its log's most telling line.
        """
        end = asyncio.get_running_loop().time() + timeout_s
        while True:
            state = self.state
            if state is not None and state.status == "ready":
                return
            if self._process is None or self._process.returncode is not None:
                raise EngineDied(f"replica {self.number} {self.ending()}")
            if asyncio.get_running_loop().time() > end:
                raise EngineNotReady(
                    f"replica {self.number} did not become ready", mend=f"Read {self.run.log}"
                )
            await asyncio.sleep(poll_s)

    def ending(self) -> str:
        """Say how it ended: in its launcher's last words since its start, where it had time for any."""
        code = self._process.returncode if self._process is not None else None
        written = max(1, self.run.log.stat().st_size - self._log_start)
        words = last_words(read_tail(self.run.log, written))
        return f"died: {words}" if words else cause(Death(code, "", served=self.was_ready))

    async def ended(self) -> int:
        """Wait for its end; return the exit code."""
        if self._process is None:
            return 0
        return await self._process.wait()

    async def stop(self, grace_s: float) -> None:
        """Have it drain and end; kill its group after `grace_s`."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), grace_s)
        except TimeoutError:
            self.kill()
            await self._process.wait()

    def kill(self) -> None:
        """End its launcher at once; its own reaper ends the engine."""
        if self._process is not None and self._process.returncode is None:
            signal_group(self._process.pid, signal.SIGKILL)

    def report(self) -> dict[str, Any]:
        """Return what the state file says of it."""
        state = self.state
        return {
            "replica": self.number,
            "status": "stopping" if self.retiring else state.status if state else "starting",
            "gets_requests": self.registered,
            "url": self.url,
            "pid": self.pid,
            "engine_pid": state.engine_pid if state else None,
            "version": self.fit.target.version,
            "cpus": list(self.lane.cpus),
            "gpus": list(self.lane.gpus),
            "failures": self.failures,
            "log": str(self.run.log),
        }


def guard_settings(user: dict[str, Any], number: int, public_host: str) -> dict[str, Any]:
    """Return a replica's guard settings: the user's, with what two servers must not share told apart.

    The replica listens on loopback, but who asks it may be far: /metrics is as open as the public port
    says. Raises UsageError for a metrics port, which only one replica could have.
    """
    if user.get("metrics_port") is not None:
        raise UsageError(
            "metrics_port in the guard's settings is one server's",
            mend="Leave it out: /metrics on the public port shows every replica",
        )
    settings = {"metrics_open": is_loopback(public_host), **user}
    audit = user.get("audit", {})
    if audit.get("file"):
        path = Path(audit["file"])
        settings["audit"] = {
            **audit,
            "file": str(path.with_name(f"{path.stem}-replica-{number}{path.suffix}")),
        }
    plain: dict[str, Any] = json.loads(json.dumps(settings))  # YAML has no tuples
    return plain
