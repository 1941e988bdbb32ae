"""A fake server of known timing, as a real process on a real socket."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Fake:
    """A running fake."""

    url: str
    pid: int
    truth_path: Path
    process: subprocess.Popen[bytes]

    def truth(self) -> dict[str, dict[str, Any]]:
        """Stop it and return what it really did, by request id."""
        self.stop()
        rows = [json.loads(line) for line in self.truth_path.read_text().splitlines()]
        return {row["id"]: row for row in rows}

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)


Start = Callable[..., Fake]


@pytest.fixture
def start_fake(tmp_path: Path) -> Iterator[Start]:
    """Start fakes with knobs as keyword arguments; all are stopped at the end."""
    with contextlib.ExitStack() as stack:
        count = 0

        def start(**knobs: Any) -> Fake:
            nonlocal count
            count += 1
            ready, truth = tmp_path / f"ready{count}.json", tmp_path / f"truth{count}.jsonl"
            argv = [sys.executable, "-m", "tests.fakes_load.server", "--ready-file", str(ready)]
            argv += ["--truth", str(truth)]
            for name, value in knobs.items():
                flag = f"--{name.replace('_', '-')}"
                argv += [flag] if value is True else [flag, str(value)]
            process = subprocess.Popen(argv)
            limit = time.monotonic() + 30
            while not ready.exists():
                assert process.poll() is None, "the fake ended"
                assert time.monotonic() < limit, "the fake is not ready"
                time.sleep(0.02)
            state = json.loads(ready.read_text())
            fake = Fake(state["url"], state["pid"], truth, process)
            stack.callback(fake.stop)
            return fake

        yield start
