"""diff, verify, gc and export as people type them."""

from __future__ import annotations

import subprocess

from quantserve.quantize.artifact import promote
from tests.integration.quantize_lifecycle.conftest import Program
from tests.unit.quantize.made import make_artifact


def test_diff_shows_a_table_and_prints_what_differs(program: Program) -> None:
    make_artifact(program.path / "artifacts", "v1", figures={"mean_kl": {"value": 0.08}})
    make_artifact(program.path / "artifacts", "v2", figures={"mean_kl": {"value": 0.06}})
    status, printed, seen = program("diff", "m/v1", "m/v2")
    assert status == 0
    assert printed["differences"] == [{"section": "figure", "name": "mean_kl.value", "a": 0.08, "b": 0.06}]
    assert "-25.0%" in seen
    assert "tokenizer.json" not in seen
    assert "tokenizer.json" in program("diff", "m/v1", "m/v2", "--all")[2]


def test_verify_prints_every_problem_and_fails(program: Program) -> None:
    directory = make_artifact(program.path / "artifacts", "v1")
    assert program("verify", "m/v1")[1]["ok"] is True
    (directory / "config.json").unlink()
    (directory / "tokenizer.json").write_text("[]")
    assert program("verify", "m/v1", "--quick")[1]["problems"][0]["kind"] == "missing"
    status, printed, seen = program("verify", "m/v1")
    assert (status, printed["ok"]) == (2, False)
    assert [problem["kind"] for problem in printed["problems"]] == ["missing", "changed"]
    assert "2 of 4 files" in seen


def test_gc_says_what_it_removed(program: Program) -> None:
    for day in (1, 2, 3):
        make_artifact(program.path / "artifacts", f"v{day}", day=day)
    promote(program.path / "artifacts" / "m" / "v1")
    status, printed, seen = program("gc", "--keep", "1")
    assert (status, printed["removed"]) == (0, ["artifacts/m/v2"])
    assert "removed artifacts/m/v2" in seen
    assert program("gc")[0] == 2, "how many to keep must be said"


def test_an_export_unpacks_where_the_page_says(program: Program) -> None:
    make_artifact(program.path / "artifacts", "v1")
    assert program("export", "m/v1", "m.tar.xz")[0] == 0
    (program.path / "artifacts" / "m").rename(program.path / "away")
    subprocess.run(["tar", "-xf", "m.tar.xz", "-C", "artifacts"], cwd=program.path, check=True)
    assert program("verify", "m/v1")[1]["ok"] is True
