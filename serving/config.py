"""What the serving commands can be told, with the defaults the command line shows."""

from __future__ import annotations

import math
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from quantserve.core.files import exclusive_lock
from quantserve.core.home import generated

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class RestartOptions:
    """When what died is started again. The delay doubles with each restart that counts.

    The defaults are a launcher's, for its engine.
    """

    limit: int | None = 5
    """Restarts that count beyond which it is given up; 0 gives up at the first death, None never."""
    window_s: float = 600.0
    """A restart counts for so long …"""
    steady_s: float = math.inf
    """… and until something has run for so long without dying."""
    first_delay_s: float = 1.0
    longest_delay_s: float = 30.0


PART_RESTARTS = RestartOptions(limit=None, window_s=math.inf, steady_s=60.0, first_delay_s=0.2)
"""For each replica's launcher, which is never given up: the other replicas serve on."""


@dataclass(frozen=True)
class ProbeOptions:
    """How a serving engine is asked for a token, so that one that hangs is found out."""

    interval_s: float = 15.0
    timeout_s: float = 30.0
    failures: int = 3
    """Probes in a row that bring no token, while no request makes progress either, before it is replaced."""


@dataclass(frozen=True)
class ServeOptions:
    """One server: where it listens and what overrides the plan. Port 0 picks a spare port."""

    host: str = LOOPBACK
    port: int = 8000
    profile: str | None = None
    """Name of a profile in serving/profiles or path of a YAML file; None lets the hardware decide."""
    served_model_name: str | None = None
    full_check: bool = False
    """Hash every file of an artifact; otherwise those whose size and times are as when they were last hashed
    are trusted."""
    keys: str | None = None
    """File of hashed API keys; None asks for none, which is refused beyond loopback."""
    guard: str | None = None
    """YAML file with the guard's settings; None leaves them to the plan."""
    private: bool = False
    """For the program that starts it, on loopback: no keys and no audit log."""
    lora: tuple[str, ...] = field(default=())
    """Adapters clients may ask for, each NAME=DIRECTORY; added to the profile's."""
    replicas: int = 1
    """Servers behind the one port; 1 is a server alone."""
    policy: str = "least_running"
    """How a replica is chosen."""
    restart_limit: int | None = None
    """As RestartOptions.limit, for each replica's launcher; None: its default, and 0 for a private server."""
    probe_interval_s: float = ProbeOptions.interval_s
    vllm_args: tuple[str, ...] = field(default=())
    """Flags handed to vLLM as they are; they win over the plan's."""


@dataclass(frozen=True)
class LauncherOptions:
    """How the engine process is watched. All times in seconds."""

    log: Path | None = None
    """File the engine's output goes to; None lets it through to the terminal's stderr."""
    ready_file: Path | None = None
    die_with_parent: bool = False
    ready_timeout_s: float = 900.0
    first_token_timeout_s: float = 60.0
    """A probe's time limit while the engine warms up."""
    drain_s: float = 30.0
    """Time running requests get when the server is asked to stop."""
    stop_margin_s: float = 15.0
    """Time an engine without requests gets to end before it is killed."""
    orphan_grace_s: float = 5.0
    """Time an engine whose launcher was killed gets to end by itself."""
    restart: RestartOptions = RestartOptions()
    probe: ProbeOptions = ProbeOptions()


@dataclass(frozen=True)
class RunDirectory:
    """The files of a background server, all in one folder."""

    path: Path = field(default_factory=lambda: generated("run"))

    @property
    def state(self) -> Path:
        """What is running, written when it is ready."""
        return self.path / "serving.json"

    @property
    def log(self) -> Path:
        """The output of launcher and engine."""
        return self.path / "serving.log"

    def changing(self) -> AbstractContextManager[None]:
        """Hold the lock of `up`, `down` and `restart` while they change what runs.

        Raises:
            Locked: another of them is at it.
        """
        lock = self.path / "serving.lock"
        return exclusive_lock(lock, "starting or stopping the server", private=True)

    @property
    def verified(self) -> Path:
        """Sizes and times of artifact files whose hashes were right."""
        return self.path / "verified.json"

    @property
    def keys(self) -> Path:
        """API keys, hashed; used where it exists."""
        return self.path / "keys.json"

    @property
    def views(self) -> Path:
        """What the engine said of checkpoints, beside the machine's probe."""
        return self.hardware.with_name("models.json")

    @property
    def hardware(self) -> Path:
        """The last probe of this machine; QUANTSERVE_HARDWARE names one file for several run directories."""
        return Path(os.environ.get("QUANTSERVE_HARDWARE") or self.path / "hardware.json")
