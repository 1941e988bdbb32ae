"""Runs as they were stored: before a key was renamed, and damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quantserve.benchmarks import servers
from quantserve.benchmarks.errors import BadRun, ServerUnusable
from quantserve.benchmarks.measure.store import Run
from quantserve.benchmarks.scenarios import sections_of
from quantserve.core import home


def test_a_run_from_before_scenarios_had_their_name_is_read(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "soak", {"program": "soak", "title": "T"}, {})
    run.put_extra({"trouble": {"left": 3}})
    assert run.config() == {"scenario": "soak", "title": "T"}
    assert run.extra() == {"faults": {"left": 3}}
    assert sections_of(run.config()["scenario"]) is not None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", "[]"),
        ("config.json", "{"),
        ("extra.json", '"x"'),
        ("cells.json", '[{"id": "c"}]'),
        ("cells.json", "[1]"),
        ("cells.json", "3"),
        ("samples.jsonl", "no json\n"),
        ("samples.jsonl", "[]\n"),
    ],
)
def test_a_damaged_run_is_refused_in_one_line(tmp_path: Path, name: str, text: str) -> None:
    run = Run.create(tmp_path, "x", {}, {})
    (run.path / name).write_text(text)
    with pytest.raises(BadRun):
        (run.config(), run.extra(), run.measured())


def test_what_a_run_stores_now_has_the_new_names(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "x", {"scenario": "run"}, {})
    assert json.loads((run.path / "config.json").read_text()) == {"scenario": "run"}


def test_no_serving_environment_is_one_line_that_says_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(home.ENVIRONMENTS, str(tmp_path))
    with pytest.raises(ServerUnusable, match="cannot be started") as caught:
        servers.ask_serving("plan", "x")
    assert caught.value.mend == "Run quantserve setup"
