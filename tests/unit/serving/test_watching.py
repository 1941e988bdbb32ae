"""--restart-limit and --probe-interval-s on their way to the launcher."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from quantserve.serving.__main__ import app
from quantserve.serving.background import request_options, serve_argv
from quantserve.serving.commands.serve import watching
from quantserve.serving.config import LauncherOptions, RunDirectory, ServeOptions
from quantserve.serving.prepare import request_of
from quantserve.serving.state import ServerState, read_state, write_state
from tests.unit.serving.states import state


def state_of(target: Path, options: ServeOptions) -> ServerState:
    return state(target=str(target), request=request_of(target, options))


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        (ServeOptions(), 5),
        (ServeOptions(private=True), 0),
        (ServeOptions(restart_limit=2), 2),
        (ServeOptions(restart_limit=0), 0),
        (ServeOptions(restart_limit=2, private=True), 2),
    ],
)
def test_launcher_restarts_as_often_as_asked_for_and_a_private_engine_never(
    options: ServeOptions, limit: int
) -> None:
    assert watching(options, LauncherOptions()).restart.limit == limit


def test_launcher_probes_as_often_as_asked_for() -> None:
    assert watching(ServeOptions(), LauncherOptions()).probe.interval_s == 15.0
    assert watching(ServeOptions(probe_interval_s=2.5), LauncherOptions()).probe.interval_s == 2.5


@pytest.mark.parametrize("replicas", [1, 2])
def test_background_command_carries_them(tmp_path: Path, replicas: int) -> None:
    options = ServeOptions(restart_limit=0, probe_interval_s=2.5, replicas=replicas)
    words = serve_argv(tmp_path, options, RunDirectory(tmp_path), 9)
    at = words.index("--restart-limit")
    assert words[at : at + 4] == ["--restart-limit", "0", "--probe-interval-s", "2.5"]


def test_background_command_leaves_out_what_nobody_asked_for(tmp_path: Path) -> None:
    words = serve_argv(tmp_path, ServeOptions(), RunDirectory(tmp_path), 9)
    assert "--restart-limit" not in words
    assert "--probe-interval-s" not in words


@pytest.mark.parametrize(
    ("words", "limit", "interval_s"),
    [([], None, 15.0), (["--restart-limit", "3", "--probe-interval-s", "2.5"], 3, 2.5)],
)
def test_up_takes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], limit: int | None, interval_s: float
) -> None:
    started: list[ServeOptions] = []

    def start(target: Path, options: ServeOptions, run: RunDirectory, ready_timeout_s: float) -> ServerState:
        started.append(options)
        return state_of(target, options)

    monkeypatch.setattr("quantserve.serving.commands.up.check", lambda *given: None)
    monkeypatch.setattr("quantserve.serving.commands.up.start", start)
    asked = ["up", str(tmp_path), "--port", "0", "--run-dir", str(tmp_path / "run"), *words]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert [(options.restart_limit, options.probe_interval_s) for options in started] == [(limit, interval_s)]


def test_restart_keeps_them(tmp_path: Path) -> None:
    options = ServeOptions(restart_limit=3, probe_interval_s=2.5)
    path = tmp_path / "serving.json"
    write_state(path, state_of(tmp_path, options))
    read = read_state(path)
    assert read is not None
    assert request_options(read) == options
