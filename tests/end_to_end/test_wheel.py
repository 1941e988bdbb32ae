"""The wheel: built from the sources alone, installed into an empty environment, outside the checkout."""

from __future__ import annotations

import os
import re
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.end_to_end.conftest import QUICK, Home
from tests.programs import ROOT
from tests.unit.test_command import commands_in

UV = str(ROOT / ".venvs/uv/bin/uv")
DOCUMENTS = " ".join(str(ROOT / name) for name in QUICK["DOCS"].split())


def run(*words: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "120", "TERM": "dumb", "NO_COLOR": "1", **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it from what git would give to anybody."""
    folder = tmp_path_factory.mktemp("wheel")
    listed = run(
        "git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT
    ).stdout.splitlines()
    for name in listed:
        if (ROOT / name).is_file():
            (folder / "sources" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "sources" / name).write_bytes((ROOT / name).read_bytes())
    done = run(UV, "build", "--quiet", "--out-dir", folder, cwd=folder / "sources")
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install it as a user does; return the command."""
    folder = tmp_path_factory.mktemp("installed")
    pins = ROOT / "requirements/base.txt"
    steps: list[list[str | Path]] = [
        ["venv", "--quiet", "--python", ROOT / ".venvs/base/bin/python", folder / "env"],
        ["pip", "install", "--quiet", "--python", folder / "env/bin/python", wheel, "--constraint", pins],
    ]
    for words in steps:
        done = run(UV, *words, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder / "env/bin/quantserve"


def test_it_puts_one_name_into_site_packages_and_holds_the_data(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"quantserve"}
    assert set(names) > {
        "quantserve/py.typed",
        "quantserve/serving/profiles/cpu.yaml",
        "quantserve/rag/server/static/index.html",
        "quantserve/quantize/gate/facts/verdict.jsonl",
        "quantserve/requirements/serving-cpu.txt",
        "quantserve/samples/documents/company-handbook.pdf",
    }


def test_every_help_page_is_shown_outside_the_checkout(command: Path, tmp_path: Path) -> None:
    names = commands_in(run(command, "--help", cwd=tmp_path, XDG_DATA_HOME=str(tmp_path)).stdout)
    assert "serving" in names
    for name in names:
        done = run(command, name, "--help", cwd=tmp_path, XDG_DATA_HOME=str(tmp_path))
        assert (done.returncode, done.stderr) == (0, ""), name


def test_without_environments_it_says_how_to_make_them(command: Path, tmp_path: Path) -> None:
    done = run(command, "ask", "hello", cwd=tmp_path, XDG_DATA_HOME=str(tmp_path), QUANTSERVE_HOME="")
    where = tmp_path / "quantserve/.venvs/rag"
    assert done.stderr == f"rag: the environment {where} is not made yet. Make it: quantserve setup\n"
    assert done.returncode == 6


@pytest.mark.engine
@pytest.mark.timeout(1200)
def test_up_runs_every_stage_with_environments_that_are_there(
    command: Path, home: Home, tmp_path: Path
) -> None:
    words: list[str | Path] = [
        "--model",
        home.path / "models" / Path(QUICK["MODEL"]).name,
        "--port",
        str(home.port),
    ]
    words += ["--quantize", QUICK["QUANTIZE"], "--gate", QUICK["GATE"], "--docs", DOCUMENTS]
    there = {"QUANTSERVE_HOME": str(home.path), "QUANTSERVE_ENVIRONMENTS": str(ROOT / ".venvs")}
    done = run(command, "up", *words, cwd=tmp_path, **there)
    assert done.returncode == 0, done.stderr[-4000:]
    stages = re.findall(r"^\[\d/8\] (\w+) +ok", done.stderr, re.M)
    assert stages == ["setup", "model", "quantize", "gate", "promote", "serve", "index", "ask"]
    status = run(command, "status", "--json", cwd=tmp_path, **there)
    assert f"127.0.0.1:{home.port}" in status.stdout
