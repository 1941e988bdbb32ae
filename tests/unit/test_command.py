"""The command `quantserve`: finds the environments, shows help without them, completes in a shell."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from quantserve import __version__
from quantserve.command import PROGRAMS, SHORTCUTS
from tests.programs import ROOT

COMMAND = ROOT / ".venvs/base/bin/quantserve"
"""In the base environment, which has typer, rich and pydantic alone."""


def call(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    wide = {**os.environ, "COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb", **env}
    return subprocess.run(
        [str(COMMAND), *words], env=wide, capture_output=True, text=True, check=False, timeout=60
    )


def commands_in(help_text: str) -> list[str]:
    """Return the names that a help page lists under Commands, Programs and so on."""
    panels = re.findall(r"^╭─ (?!Options|Arguments)[^─]* ─+╮\n(.*?)^╰", help_text, re.M | re.S)
    return re.findall(r"^│ ([a-z][a-z-]*) ", "".join(panels), re.M)


def test_the_help_names_every_program_and_what_is_typed_daily() -> None:
    done = call("--help")
    assert done.returncode == 0, done.stderr
    assert sorted(commands_in(done.stdout)) == sorted([*PROGRAMS, *SHORTCUTS])


@pytest.mark.parametrize("name", [*PROGRAMS, *SHORTCUTS])
def test_every_help_page_needs_the_base_environment_alone(name: str, tmp_path: Path) -> None:
    left = [[name]]
    while left:
        words = left.pop()
        done = call(*words, "--help", QUANTSERVE_ENVIRONMENTS=str(tmp_path))
        assert (done.returncode, done.stderr) == (0, ""), words
        assert f"Usage: quantserve {' '.join(words)}" in done.stdout
        left += [[*words, inner] for inner in commands_in(done.stdout)]


@pytest.mark.parametrize("words", [["ask", "hello"], ["serving", "status"], ["benchmarks", "results"]])
def test_a_missing_environment_is_one_line_that_says_how_to_make_it(words: list[str], tmp_path: Path) -> None:
    done = call(*words, QUANTSERVE_ENVIRONMENTS=str(tmp_path))
    program = SHORTCUTS.get(words[0], (words[0],))[0]
    environment = tmp_path / PROGRAMS[program].environment
    expected = f"{program}: the environment {environment} is not made yet. Make it: quantserve setup\n"
    assert (done.returncode, done.stderr) == (6, expected)


def test_a_program_runs_in_its_environment_from_any_folder_with_its_home(tmp_path: Path) -> None:
    python = tmp_path / "environments/serving/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$PWD $QUANTSERVE_HOME $*"\nexit 5\n')
    python.chmod(0o755)
    (tmp_path / "here").mkdir()
    done = subprocess.run(
        [str(COMMAND), "status", "--json"],
        cwd=tmp_path / "here",
        env={
            **os.environ,
            "QUANTSERVE_ENVIRONMENTS": str(tmp_path / "environments"),
            "QUANTSERVE_HOME": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    expected = f"{tmp_path}/here {tmp_path} -m quantserve.serving status --json\n"
    assert (done.returncode, done.stdout) == (5, expected)


def test_the_version_is_the_packages() -> None:
    assert call("--version").stdout == f"quantserve {__version__}\n"


def test_an_unknown_command_is_an_error_that_names_it() -> None:
    done = call("serv")
    assert done.returncode == 2
    assert "No such command 'serv'" in done.stderr


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("quantserve st", ["status"]),
        ("quantserve serving st", ["status"]),
        ("quantserve ask --base", ["--base-url"]),
        ("quantserve quantize run --meth", ["--method"]),
        ("quantserve rag keys cr", ["create"]),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_and_options(line: str, offered: list[str], shell: str) -> None:
    words = line.split()
    done = call(
        _QUANTSERVE_COMPLETE=f"complete_{shell}",
        COMP_WORDS=line,
        COMP_CWORD=str(len(words) - 1),
        _TYPER_COMPLETE_ARGS=line,
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )
    assert all(re.search(rf"(^|\W){re.escape(word)}\b", done.stdout) for word in offered), done
