"""How another process asks the supervisor for a rolling restart: a file, a signal, and the state file.

ask_to_roll(state, target, run)   writes run/rolling.json, signals, waits until the state says what came of it
"""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from quantserve.core.console import console
from quantserve.core.files import write_json
from quantserve.serving.config import RunDirectory
from quantserve.serving.errors import NotRunning, ServingError
from quantserve.serving.state import ServerState, read_state

SIGNAL = signal.SIGUSR1
_POLL_S = 0.2


@dataclass(frozen=True)
class Roll:
    """One request for a rolling restart. `given` keeps a `current` link, `target` is where it points."""

    id: str
    given: str
    target: str


def request_file(run: RunDirectory) -> Path:
    """Where the request lies."""
    return run.path / "rolling.json"


def read_request(run: RunDirectory) -> Roll | None:
    """Return what was asked last, None when nothing was."""
    try:
        return Roll(**json.loads(request_file(run).read_text(encoding="utf-8")))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return None


def ask_to_roll(state: ServerState, target: Path, run: RunDirectory) -> ServerState:
    """Have every replica replaced by one of `target`; return the state afterwards.

    Raises:
        ServingError: a new replica did not become ready; the old ones still serve.
        NotRunning: the server ended meanwhile.
    """
    roll = Roll(uuid.uuid4().hex, str(target.absolute()), str(target.resolve()))
    write_json(request_file(run), asdict(roll))
    os.kill(state.pid, SIGNAL)
    with console.status("replacing the replicas …") as shown:
        while True:
            now = read_state(run.state)
            if now is None or now.pid != state.pid:
                raise NotRunning("the server ended during the rolling restart", mend=f"Read {run.log}")
            said = now.rolling if now.rolling is not None and now.rolling["id"] == roll.id else None
            if said is not None and said["status"] == "done":
                return now
            if said is not None and said["status"] == "failed":
                raise ServingError(f"rolling restart: {said['message']}", mend=f"Read {run.log}")
            if said is not None:
                shown.update(f"replacing the replicas … {said['message']}")
            time.sleep(_POLL_S)
