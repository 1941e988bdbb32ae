"""One `make up` for all end-to-end tests, in a folder of its own and on a spare port."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.programs import ROOT
from tests.tiny_llama import write_tiny_llama

NAME = "tiny-llama"
# A random model of a megabyte: the whole path is real, only the weights are small.
# What it babbles ends, repeats itself and parts from the base's by chance; its figures are judged as ever.
QUICK = {
    "MODEL": f"models/{NAME}",
    "QUANTIZE": "--sequences 4 --sequence-tokens 128",
    "GATE": "--max-new-bad-answers 12 --min-top1-agreement 60% --max-divergence 100% --min-p 0 "
    "--max-answer-length-ratio 100",
    "DOCS": " ".join(
        f"samples/documents/{n}" for n in ("company-handbook.pdf", "serving-guide.md", "faq.html")
    ),
}


@dataclass(frozen=True)
class Home:
    """Where `make up` put its files, and how to run make against it."""

    path: Path
    port: int

    def make(self, *words: str, timeout_s: float = 900, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run make as a user does; stdout and stderr come back together."""
        settings = {"QUANTSERVE_HOME": str(self.path), "PORT": str(self.port), **QUICK, **variables}
        return subprocess.run(
            ["make", "--no-print-directory", *words],
            cwd=ROOT,
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=timeout_s,
        )


def spare_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Yield a home in which `make up` has succeeded; its server is stopped at the end."""
    made = Home(tmp_path_factory.mktemp("home"), spare_port())
    write_tiny_llama(made.path / "models" / NAME, positions=4096)
    try:
        up = made.make("up")
        assert up.returncode == 0, up.stdout[-8000:]
        (made.path / "up.txt").write_text(up.stdout, encoding="utf-8")
        yield made
    finally:
        made.make("down")
