"""What the tests of all shapes share: a folder of checkpoints, and one process that quantizes and judges."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architectures.program import QUANTIZE, Program
from tests.conftest import SHARED


@pytest.fixture(scope="session")
def folder() -> Path:
    """Where each shape's checkpoint is made once, for all workers of one run."""
    path = Path(os.environ[SHARED]) / "architectures"
    path.mkdir(exist_ok=True)
    return path


@pytest.fixture(scope="session")
def quantizer(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The process that quantizes."""
    log = tmp_path_factory.mktemp("architectures") / "worker.log"
    program = Program(QUANTIZE, "tests.architectures.worker", folder, env={}, log=log)
    yield program
    program.close()
