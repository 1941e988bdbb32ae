from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from quantserve.core.errors import InputError
from quantserve.deploy.local import audit
from quantserve.deploy.local.audit import AuditFailed, Result
from tests.programs import ROOT

FOUND = {
    "dependencies": [
        {"name": "clean", "version": "1.0", "vulns": []},
        {
            "name": "torn",
            "version": "2.0",
            "vulns": [
                {
                    "id": "PYSEC-2026-1",
                    "fix_versions": ["2.1"],
                    "aliases": ["CVE-2026-1"],
                    "description": "long",
                }
            ],
        },
    ],
    "fixes": [],
}
LOST = {"dependencies": [{"name": "lost", "skip_reason": "Dependency not found on PyPI"}], "fixes": []}


def read(report: object) -> Result:
    return audit.read_report(json.dumps(report), "pypi")


def test_every_release_is_asked_for_once_without_its_local_part(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("torch==2.13.0+cpu\n    # via x\nllama_index.core==0.1 ; extra\n")
    (tmp_path / "b.txt").write_text("torch==2.13.0\nray[default]==2.0\nTyper==0.9\n")
    found = audit.pins(sorted(tmp_path.glob("*.txt")))
    assert found == ["llama-index-core==0.1", "ray==2.0", "torch==2.13.0", "typer==0.9"]


def test_no_pin_of_the_project_is_missed() -> None:
    files = sorted(audit.REQUIREMENTS.glob("*.txt"))
    lines = [
        line.split("==")[0]
        for file in files
        for line in file.read_text(encoding="utf-8").splitlines()
        if "==" in line and not line.lstrip().startswith("#") and "sys_platform == 'never'" not in line
    ]
    names = {pin.partition("==")[0] for pin in audit.pins(files)}
    assert {line.partition("[")[0].lower().replace("_", "-").replace(".", "-") for line in lines} == names


@pytest.mark.parametrize(
    ("report", "accepted", "expected"),
    [
        ({"dependencies": FOUND["dependencies"][:1]}, {}, "CLEAN"),
        (FOUND, {}, "FINDINGS"),
        (FOUND, {"PYSEC-2026-1": "not called"}, "CLEAN"),
        (FOUND, {"CVE-2026-1": "not called"}, "CLEAN"),  # by the name another database gives it
        (FOUND, {"CVE-2026-2": "another"}, "FINDINGS"),
        (LOST, {}, "UNKNOWN"),
        ({"dependencies": []}, {}, "UNKNOWN"),
    ],
)
def test_a_pin_is_clean_only_where_it_was_looked_up(
    report: object, accepted: dict[str, str], expected: str
) -> None:
    assert audit.verdict(read(report), accepted) == expected


def test_the_page_says_what_was_found_and_decided() -> None:
    text = audit.page(read(FOUND), {"CVE-2026-1": "its server part is not imported"}, "2026-11-29")
    assert "| 2026-11-29 | pypi | 2 | 1 | 0 | CLEAN |" in text
    assert "| torn 2.0 | PYSEC-2026-1 | 2.1 | its server part is not imported |" in text
    assert "**open**" in audit.page(read(FOUND), {}, "2026-11-29")
    assert "Not known: lost." in audit.page(read(LOST), {}, "2026-11-29")


def stand_in(folder: Path, report: str, error: str = "") -> Path:
    """An environment whose pip_audit answers every question with `report`."""
    (folder / "pip_audit.py").write_text(
        f"import sys\nsys.stdout.write({report!r})\nsys.stderr.write({error!r})\nsys.exit(1)\n"
    )
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python


@pytest.mark.parametrize("report", [LOST, {"dependencies": FOUND["dependencies"][:1]}])
def test_a_service_that_knows_nothing_bad_is_not_believed(tmp_path: Path, report: object) -> None:
    with pytest.raises(AuditFailed, match="cannot be reached from here: it knows nothing of urllib3"):
        audit.require_service(stand_in(tmp_path, json.dumps(report)), "pypi")


def test_a_service_that_knows_it_is_asked_on(tmp_path: Path) -> None:
    audit.require_service(stand_in(tmp_path, json.dumps(FOUND)), "pypi")


def test_a_service_without_an_answer_is_one_line(tmp_path: Path) -> None:
    python = stand_in(tmp_path, "", "Traceback\nConnectionError: no route")
    with pytest.raises(AuditFailed, match=r"\(osv\) cannot be asked: ConnectionError: no route"):
        audit.ask(python, ["a==1"], "osv")


def test_an_advisory_is_accepted_only_with_a_reason(tmp_path: Path) -> None:
    file = tmp_path / "advisories.toml"
    file.write_text('[[accepted]]\nid = "CVE-1"\nreason = " "\n')
    with pytest.raises(InputError, match="lacks id or reason"):
        audit.read_accepted(file)
    file.write_text('[[accepted]]\nid = "CVE-1"\nreason = "never imported"\n')
    assert audit.read_accepted(file) == {"CVE-1": "never imported"}


def test_an_unknown_service_is_refused_before_anything_is_installed() -> None:
    words = ["make", "audit", "AUDIT_SERVICE=moon"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr.startswith("make audit: AUDIT_SERVICE=moon is unknown. Use one of: pypi, osv\n")
    assert done.returncode == 2
