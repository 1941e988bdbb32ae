from __future__ import annotations

import subprocess
import sys

import pytest

from tests.programs import ROOT

PROGRAM = """
import typer
from quantserve.core.console import console, emit_json, run_app
from quantserve.core.errors import InputError, ResourceError
app = typer.Typer(pretty_exceptions_enable=False)
@app.command()
def main(kind: str) -> None:
    if kind == "input":
        raise InputError("[bold]odd[/] name is no file", mend="Name a file")
    if kind == "resource":
        raise ResourceError("It needs 9 GB, 2 are free", mend="Free some")
    if kind == "interrupt":
        raise KeyboardInterrupt
    console.print("for people")
    emit_json({"답": 1})
run_app(app, "prog")
"""


def run(kind: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, kind], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("kind", "code", "line"),
    [
        ("input", 2, "prog: [bold]odd[/] name is no file. Name a file"),
        ("resource", 6, "prog: It needs 9 GB, 2 are free. Free some"),
    ],
)
def test_an_expected_failure_is_one_line_and_its_code(kind: str, code: int, line: str) -> None:
    done = run(kind)
    assert (done.returncode, done.stderr.strip(), done.stdout) == (code, line, "")


def test_ctrl_c_is_130_without_a_traceback() -> None:
    done = run("interrupt")
    assert (done.returncode, done.stderr) == (130, "prog: interrupted; nothing half-written was left\n")


@pytest.mark.parametrize("program", ["quantize", "serving", "rag", "benchmarks"])
def test_ctrl_c_while_a_program_still_imports_is_one_line(program: str) -> None:
    # a typer that cannot be imported before Ctrl-C comes
    code = (
        "import runpy, sys, types\n"
        "class Interrupted(types.ModuleType):\n"
        "    def __getattr__(self, name): raise KeyboardInterrupt\n"
        "sys.modules['typer'] = Interrupted('typer')\n"
        f"runpy.run_module('quantserve.{program}', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-2, "interrupted; nothing was started\n")


def test_people_read_stderr_and_programs_stdout() -> None:
    done = run("well")
    assert (done.returncode, done.stderr, done.stdout) == (0, "for people\n", '{"답": 1}\n')
