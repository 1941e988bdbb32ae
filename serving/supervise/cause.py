"""Why an engine ended, from what is known and not from whatever its log mentions. Pure, but for `oom_kills`.

A serving engine's log is full of errors that are its clients'. So a signal explains itself, a report of the
engine's process comes next, and of the log only what engine core and workers wrote since the engine was last
seen alive, if one of them fell: the API server writes what clients did. While an engine starts it has no
clients, and its whole log counts.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quantserve.core.logs import last_raised, telling_line

_CORE = re.compile(r"^\((?:EngineCore|Worker|DPCoordinator)\w*(?: \w+=\d+)+ ?\)")
_WORKER_DIED = re.compile(r"Worker proc (\S+) died unexpectedly \(exit code: (-\d+)\)")
_FATAL_ERROR = "EngineCore encountered a fatal error"
_FATAL_LINE = re.compile(r"Fatal Python error: |terminate called |\s*what\(\): ")
_CORRUPTED = re.compile(r"[Cc]orrupted ")
_LAST_LINES = 40
_SIGNALS = {
    signal.SIGKILL: "out of memory?",
    signal.SIGSEGV: "a fault in native code",
    signal.SIGILL: "an instruction this processor lacks; see quantserve serving doctor",
    signal.SIGBUS: "a full disk or too little shared memory?",
    signal.SIGABRT: "native code gave up",
    signal.SIGFPE: "native code divided by zero",
    signal.SIGTERM: "somebody asked it to end",
}
_OOM_FILES = ("/sys/fs/cgroup{path}/memory.events", "/sys/fs/cgroup/memory{path}/memory.oom_control")


@dataclass(frozen=True)
class Death:
    """What is known of an engine that ended."""

    code: int | None
    """Exit code of the API server, negative for a signal; None: it still runs and serves nobody."""
    log: str
    """What it wrote since it was last seen alive, or since its start."""
    served: bool
    """Whether it had been let serve, and so had clients."""
    reports: Sequence[Mapping[str, Any]] = field(default=())
    """What the engine's process told (serving.supervise.children)."""
    out_of_memory: bool = False
    """Whether the kernel has ended a process of our control group for memory since it started."""


def cause(death: Death) -> str:
    """Return how an engine ended, and why where that is known: `was killed by SIGKILL (out of memory?)`."""
    when = "" if death.served else " while starting"
    if death.code is not None and death.code < 0:
        return _killed(death.code, when, death)
    for name, code in _children(death):
        if code == -signal.SIGTERM and (why := _why(death)):  # by the engine itself, that gave up before
            return f"has lost its process {name}{when}: {why}"
        if code < 0:
            return f"has lost its process {name}, which {_killed(code, when, death)}"
    how = "takes no requests any more" if death.code is None else f"ended with code {death.code}"
    why = _why(death) or ("" if death.code == 0 else "its log does not say why")
    return f"{how}{when}" + (f": {why}" if why else "")


def _children(death: Death) -> list[tuple[str, int]]:
    told = [(str(r["died"]), int(r["code"])) for r in death.reports if "died" in r]
    core = "\n".join(line for line in death.log.splitlines() if _CORE.match(line))
    return [*((name, int(code)) for name, code in _WORKER_DIED.findall(core)), *told]


def _killed(code: int, when: str, death: Death) -> str:
    try:
        signum = signal.Signals(-code)
    except ValueError:
        return f"was killed by signal {-code}{when}"
    hint = _SIGNALS.get(signum, "")
    if signum == signal.SIGKILL and death.out_of_memory:
        hint = "out of memory: the kernel ended it"
    said = "" if signum in (signal.SIGKILL, signal.SIGTERM) else _fatal_line(death.log)
    return (
        f"was killed by {signum.name}{when}" + (f" ({hint})" if hint else "") + (f": {said}" if said else "")
    )


def _fatal_line(log: str) -> str:
    """Return what native code or the interpreter said last, in the log's last lines."""
    lines = log.splitlines()[-_LAST_LINES:]
    last = [line.strip() for line in lines if _FATAL_LINE.match(line) or _CORRUPTED.search(line)]
    return last[-1][:400] if last else ""


def _why(death: Death) -> str:
    if not death.served:
        return telling_line(death.log)
    core = "\n".join(line for line in death.log.splitlines() if _CORE.match(line))
    fell = _FATAL_ERROR in core or any(code != 0 for _, code in _children(death))
    raised = [str(report["raised"]) for report in death.reports if "raised" in report]
    return (last_raised(core) if fell else "") or (raised[-1][:400] if raised else "")


def oom_kills() -> int | None:
    """Return how many processes of our control group the kernel has ended for memory; None if unknown."""
    try:
        groups = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    paths = [path for _, names, path in (line.split(":", 2) for line in groups) if names in ("", "memory")]
    for path in [*paths, ""]:
        for pattern in _OOM_FILES:
            try:
                text = Path(pattern.format(path=path.rstrip("/"))).read_text(encoding="ascii")
            except OSError:
                continue
            found = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
            if found is not None:
                return int(found[1])
    return None
