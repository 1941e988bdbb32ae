"""What every test shares: workers that share the machine, and a turn alone for what measures time.

`make test` runs three workers (pytest-xdist) on two processors, since tests wait a good part of their time.
Tests of one folder stay on one worker, so that what they share (a made model) is made once; where files share
little, it is the tests of one file. Tests marked `alone` compare measured times with true ones: nothing else
runs meanwhile, and they come last, when hardly anything is left to wait for.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from tests.programs import ROOT

_MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
_GIVEN_BY_MAKE = (
    *" ".join(re.findall(r"^export ([A-Z_ ]+)$", _MAKEFILE, re.MULTILINE)).split(),
    *("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKE_TARGET"),
)
# Tests start our programs many times; let the first start keep its bytecode.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# What `make` and the shell that runs it say to the programs is not what is tested.
for variable in _GIVEN_BY_MAKE:
    os.environ.pop(variable, None)
# Several engines share the processors, as replicas do: none may spin (serving/waiting.py).
os.environ.setdefault("QUANTSERVE_WAIT_S", "0.0002")
# And no thread of OpenMP: programs that share two processors and spin take three times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# A shell that starts a run in the background has it ignore Ctrl-C, and so would every program under test.
signal.signal(signal.SIGINT, signal.default_int_handler)


# Machines are shared: no property may fail because an example took long.
settings.register_profile("no clock", deadline=None)
settings.load_profile("no clock")

# What all workers of one run use, made by the first that needs it: the machine's probe, models.
SHARED = "QUANTSERVE_TESTS_SHARED"
BY_SHAPE = "tests/architectures/"
BY_FILE = ("tests/unit/", "tests/integration/serving/", "tests/integration/rag/")


class ByFolder(LoadScopeScheduling):  # type: ignore[misc]  # xdist ships no types for it
    """Deals whole folders to the workers, single files where these share little, and shapes one by one."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        shape = re.search(r"\[(\w+)", test) if file.startswith(BY_SHAPE) else None
        if shape is not None:
            return f"{BY_SHAPE}{shape[1]}"
        return file if file.startswith(BY_FILE) else file.rpartition("/")[0]


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder that the workers share; they inherit its name."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    shared = tempfile.TemporaryDirectory(prefix="quantserve-tests-")
    config.add_cleanup(shared.cleanup)
    os.environ[SHARED] = shared.name
    os.environ["QUANTSERVE_HARDWARE"] = f"{shared.name}/hardware.json"


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFolder:
    """Replace xdist's own ways of dealing."""
    return ByFolder(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the folders that start engines first, so that no worker is left with one, and `alone` last."""
    long = {item.path.parent for item in items if item.get_closest_marker("engine") is not None}
    items.sort(key=lambda item: (item.get_closest_marker("alone") is not None, item.path.parent not in long))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let a test marked `alone` wait for the others, and them for it."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    # a file of its own for each lock, in the folder that all workers of this checkout share
    locks = item.config.cache.mkdir("turns")
    with _turn(locks, alone=item.get_closest_marker("alone") is not None):
        return (yield)


@contextmanager
def _turn(locks: Path, *, alone: bool) -> Iterator[None]:
    """Hold the machine, shared or alone. Whoever waits stands in the door, so that nobody is overtaken."""
    with (locks / "door").open("w") as door, (locks / "room").open("w") as room:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        if not alone:
            fcntl.flock(door, fcntl.LOCK_UN)
        yield
