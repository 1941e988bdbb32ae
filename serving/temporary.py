"""A server for as long as a block of code runs: started for a target, ready at entry, gone at exit."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quantserve.core.process import ProgramFailed, Served, served
from quantserve.serving.config import LauncherOptions, RunDirectory
from quantserve.serving.errors import EngineDied, EngineNotReady

_RUN = RunDirectory()
_LAUNCHER = LauncherOptions()


@contextmanager
def temporary_server(
    target: Path,
    *,
    profile: str | None = None,
    vllm_args: tuple[str, ...] = (),
    run: Path = _RUN.path,
    ready_timeout_s: float = _LAUNCHER.ready_timeout_s,
) -> Iterator[Served]:
    """Serve `target` on a spare loopback port, without keys and audit log; it dies with this process.

    Raises:
        EngineDied: it ended before it was ready; the message is its most telling line.
        EngineNotReady: no token came in time.
    """
    words = ["--run-dir", str(run.resolve()), *(["--profile", profile] if profile is not None else [])]
    with tempfile.TemporaryDirectory(prefix="quantserve-") as folder:
        try:
            with served(
                target.resolve(),
                Path(sys.executable),
                Path(folder),
                words=words,
                engine=vllm_args,
                ready_timeout_s=ready_timeout_s,
            ) as server:
                yield server
        except ProgramFailed as error:
            if error.exit_code_of_program is None:
                raise EngineNotReady(error.problem) from error
            raise EngineDied(error.why or error.problem) from error
