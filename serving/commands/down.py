"""`serving down`: stop the background server after its running requests."""

from __future__ import annotations

from quantserve.core.console import console, emit_json
from quantserve.serving.background import stop
from quantserve.serving.commands import parameters as p
from quantserve.serving.config import RunDirectory
from quantserve.serving.state import read_state


def down(run_dir: p.RunDirOption = p.RUN.path) -> None:
    """Stop the background server; running requests finish first. Nothing running is fine."""
    run = RunDirectory(run_dir)
    with run.changing():
        state = read_state(run.state)
        if state is None:
            run.state.unlink(missing_ok=True)
            console.print("no server is running")
            emit_json({"stopped": False})
            return
        seconds = stop(state)
    console.print(f"{state.model} stopped after {seconds:.1f} s")
    emit_json({"stopped": True, "seconds": round(seconds, 1), "pid": state.pid})
