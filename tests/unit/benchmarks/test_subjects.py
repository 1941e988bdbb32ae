from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quantserve.benchmarks.errors import ServerUnusable
from quantserve.benchmarks.measure.bench import Bench, ScenarioOptions
from quantserve.benchmarks.measure.store import Run
from quantserve.benchmarks.measure.subjects import Subject, alternate
from quantserve.benchmarks.servers import Server


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path, "t", {}, {})


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Which subject was measured in which repeat; the measuring itself is left out."""
    found: list[tuple[str, int]] = []

    def note(bench: Bench, server: Server, subject: str, *rest: Any, repeat: int) -> str | None:
        found.append((subject, repeat))
        return "it died" if subject == "dying" else None

    monkeypatch.setattr(Bench, "loads", note)
    return found


@contextlib.contextmanager
def good() -> Iterator[Server]:
    yield Server("http://x/v1", "m")


def bad() -> contextlib.AbstractContextManager[Server]:
    raise ServerUnusable("no such kernel")


def go(run: Run, *who: Subject, repeats: int) -> None:
    alternate(Bench(run, ScenarioOptions(repeats=repeats)), who, [None], [])  # type: ignore[list-item]


def test_each_repeat_begins_with_the_next(run: Run, seen: list[tuple[str, int]]) -> None:
    go(run, Subject("a", good), Subject("b", good), repeats=2)
    assert seen == [("a", 0), ("b", 0), ("b", 1), ("a", 1)]


def test_a_subject_that_does_not_start_is_noted_and_the_others_go_on(
    run: Run, seen: list[tuple[str, int]]
) -> None:
    go(run, Subject("a", bad), Subject("b", good), repeats=2)
    assert seen == [("b", 0), ("b", 1)]
    assert run.extra()["failed_subjects"] == {"a": "no such kernel"}


def test_a_subject_that_dies_is_not_tried_again(run: Run, seen: list[tuple[str, int]]) -> None:
    go(run, Subject("dying", good), Subject("b", good), repeats=2)
    assert seen == [("dying", 0), ("b", 0), ("b", 1)]
    assert run.extra()["failed_subjects"] == {"dying": "it died"}


def test_a_substitute_plays_only_when_its_subject_failed(run: Run, seen: list[tuple[str, int]]) -> None:
    go(run, Subject("a", good), Subject("c", good, instead_of="a"), repeats=1)
    assert seen == [("a", 0)]
    seen.clear()
    go(run, Subject("a", bad), Subject("c", good, instead_of="a"), repeats=1)
    assert seen == [("c", 0)]
