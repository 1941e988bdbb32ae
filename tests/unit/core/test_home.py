from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from quantserve.core.home import found_at_home, generated, home
from tests.programs import ROOT

PYTHONS = {
    "quantize": ROOT / ".venvs/quantize/bin/python",
    "serving": ROOT / ".venvs/serving/bin/python",
    "rag": ROOT / ".venvs/rag/bin/python",
    "benchmarks": ROOT / ".venvs/rag/bin/python",
}


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that is not the current folder."""
    (tmp_path / "here").mkdir()
    (tmp_path / "home/models/NAME").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("QUANTSERVE_HOME", str(tmp_path / "home"))
    return tmp_path


def test_without_the_variable_home_is_the_current_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUANTSERVE_HOME", raising=False)
    assert home() == Path.cwd()
    assert generated("run/index") == Path("run/index")
    assert home(Path("/elsewhere")) == Path("/elsewhere")


def test_generated_files_are_at_home(apart: Path) -> None:
    assert generated("run/index") == apart / "home/run/index"


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTSERVE_HOME", "")
    assert home() == Path.cwd()


def test_a_relative_home_is_taken_from_where_the_program_starts(
    apart: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANTSERVE_HOME", "../home")
    assert generated("run") == apart / "home/run"


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("models/NAME", "{home}/models/NAME"),
        ("--base=models/NAME", "--base={home}/models/NAME"),
        ("models/OTHER", "models/OTHER"),  # nowhere: the program's own message names it as it was written
        ("run", "run"),  # a command's name
        ("models", "models"),
        ("documents/NAME", "documents/NAME"),
        ("/models/NAME", "/models/NAME"),
        ("models/\0", "models/\0"),
        ("", ""),
    ],
)
def test_names_of_generated_files_are_found_at_home_from_anywhere(apart: Path, word: str, found: str) -> None:
    assert found_at_home([word]) == [found.replace("{home}", str(apart / "home"))]


def test_what_is_here_is_meant_before_what_is_at_home(apart: Path) -> None:
    Path("models/NAME").mkdir(parents=True)
    assert found_at_home(["models/NAME"]) == ["models/NAME"]


@pytest.mark.parametrize(
    ("program", "words", "printed"),
    [
        ("quantize", ["run", "--help"], "/home/artifacts"),
        ("serving", ["up", "--help"], "/home/run"),
        ("serving", ["logs"], "/home/run/serving.log"),
        ("rag", ["index", "--help"], "/home/run/index"),
        ("benchmarks", ["run", "--help"], "/home/runs"),
    ],
)
def test_each_program_keeps_its_files_there_by_itself(
    apart: Path, program: str, words: list[str], printed: str
) -> None:
    wide = {
        **os.environ,
        "COLUMNS": "300",
    }
    done = subprocess.run(
        [PYTHONS[program], "-m", f"quantserve.{program}", *words],
        capture_output=True,
        text=True,
        env=wide,
        check=False,
    )
    assert str(apart) + printed in done.stdout + done.stderr, done.stdout + done.stderr


def test_what_make_runs_works_there_too(apart: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from quantserve.core.home import command_home; print(command_home())"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(apart / "home")
