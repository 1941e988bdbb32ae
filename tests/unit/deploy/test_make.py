"""What each make target says to a missing or wrong variable: one line of ours, and make's own.

Only what is refused before anything is installed or started: `make setup` is part of most targets.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.programs import ROOT

REFUSED: list[tuple[list[str], int, str]] = [
    (["ask"], 2, 'make ask: say what to ask: make ask Q="…"'),
    (["ask", "Q="], 2, 'make ask: say what to ask: make ask Q="…"'),
    (["ask", "Q=hi", "PORT=abc"], 2, "make ask: PORT=abc is no whole number"),
    (["chat", "PORT=1x"], 2, "make chat: PORT=1x is no whole number"),
    (["web", "PORT=-1"], 2, "make web: PORT=-1 is no whole number"),
    (["web", "WEB_PORT=x"], 2, "make web: WEB_PORT=x is no whole number"),
    (["bench", "PORT=x"], 2, "make bench: PORT=x is no whole number"),
    (["soak", "MINUTES=ten"], 2, "make soak: MINUTES=ten is no whole number"),
    (
        ["index", "DOCS=/nonexistent"],
        2,
        "quantserve: --docs: /nonexistent does not exist. Name files and folders",
    ),
    (
        ["up", "DOCS=/nonexistent"],
        2,
        "quantserve: --docs: /nonexistent does not exist. Name files and folders",
    ),
    (
        ["index", "DOCS='a"],
        2,
        "quantserve: --docs 'a cannot be read: No closing quotation. Close the quotation mark",
    ),
    (["quantize", "QUANTIZE='a"], 2, "quantserve: --quantize 'a cannot be read: No closing quotation"),
    (["gate", 'GATE="a'], 2, 'quantserve: --gate "a cannot be read: No closing quotation'),
    (["serve", "SERVE='a"], 2, "quantserve: --serve 'a cannot be read: No closing quotation"),
    (["setup", "ACCEL=tpu"], 2, "quantserve: the accelerator tpu is unknown. Use cpu or cuda"),
    (["doctor", "PORT=http"], 2, "make doctor: PORT=http is no whole number"),
    (["model", "ACCEL=tpu"], 2, "quantserve: the accelerator tpu is unknown. Use cpu or cuda"),
    (["gate", "METHOD=zip"], 2, "quantserve: --method zip is unknown. Use one of: gptq, awq"),
    (["promote", "PORT=0"], 2, "quantserve: --port 0 is no port. Use a number from 1 to 65535"),
    (["rollback", "PORT=70000"], 2, "quantserve: --port 70000 is no port"),
    (["quantize-and-deploy", "ENV=moon"], 2, "quantserve: --to moon is unknown. Use one of: local"),
    (
        ["up", "BIND=999.1.1.1"],
        6,
        "quantserve: Port 8000 on 999.1.1.1 cannot be used: Name or service not known.",
    ),
    (["up", "PYTHON=/nope"], 2, "make up: there is no /nope. Name one: make up PYTHON=/path/to/python3.11"),
    (["status", "QUANTSERVE_HOME=/proc/x"], 2, "make status: QUANTSERVE_HOME=/proc/x cannot be used"),
]


def make(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *words], cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(("words", "code", "message"), REFUSED, ids=[" ".join(case[0]) for case in REFUSED])
def test_a_wrong_variable_is_one_line_and_starts_nothing(words: list[str], code: int, message: str) -> None:
    done = make(*words)
    ours, makes_own = done.stderr.splitlines()
    assert ours.startswith(message)
    assert makes_own.endswith(f"{words[0]}] Error {code}")
    assert (done.returncode, done.stdout) == (2, "")


TARGETS = [
    "ask Q=hi",
    "chat",
    "web",
    "status",
    "logs",
    "down",
    "bench",
    "bench-quantize",
    "lint",
    "test-unit",
]


@pytest.mark.parametrize("target", TARGETS)
def test_without_environments_each_target_says_how_to_make_them(tmp_path: Path, target: str) -> None:
    done = make("-f", str(ROOT / "Makefile"), *target.split(), cwd=tmp_path)
    ours, _ = done.stderr.splitlines()
    assert ours == f"make {target.split()[0]}: the environments are not made yet. Run make setup"
    assert done.returncode == 2


def test_ctrl_c_in_a_target_is_one_line_and_ends_make_by_the_signal(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/serving.log").write_text("a line of the log\n")
    words = ["make", "logs", f"QUANTSERVE_HOME={tmp_path}"]
    process = subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "a line of the log\n"
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it: to make and its program
    _, errors = process.communicate(timeout=60)
    ours, makes_own = errors.splitlines()
    assert ours == "serving: interrupted; nothing half-written was left"
    assert makes_own.endswith(("logs] Error 130", "logs] Interrupt"))
    assert process.returncode in (-signal.SIGINT, 130)
