from __future__ import annotations

import os
from pathlib import Path
from time import time

from quantserve.quantize.methods.job import finished_result, remove_leftovers, tidy_work_folder, work_folder


def test_a_result_counts_only_beside_its_checkpoint(tmp_path: Path) -> None:
    folder = work_folder(tmp_path / "v1")
    (folder / "result.json").write_text('{"seconds": 4}')
    assert finished_result(folder) is None
    (folder / "checkpoint").mkdir()
    assert finished_result(folder) == {"seconds": 4}


def test_what_an_earlier_version_finished_is_read_under_today_s_name(tmp_path: Path) -> None:
    folder = work_folder(tmp_path / "v1")
    (folder / "result.json").write_text('{"seconds": 4, "kept": {"lm_head": "outside the layers"}}')
    (folder / "checkpoint").mkdir()
    assert finished_result(folder) == {"seconds": 4, "unquantized": {"lm_head": "outside the layers"}}


def test_a_failed_run_leaves_its_finished_stages_and_nothing_else(tmp_path: Path) -> None:
    folder = work_folder(tmp_path / "v1")
    (folder / "checkpoint.part").mkdir()
    (folder / "tokens.json").write_text("{}")
    tidy_work_folder(folder)
    assert [path.name for path in folder.iterdir()] == ["tokens.json"]


def test_a_run_that_failed_at_once_leaves_no_folder(tmp_path: Path) -> None:
    folder = work_folder(tmp_path / "v1")
    (folder / "checkpoint.part").mkdir()
    tidy_work_folder(folder)
    assert not folder.exists()


def test_sweeping_spares_the_living_the_recent_and_one_s_own(tmp_path: Path) -> None:
    own, recent, old = (work_folder(tmp_path / name) for name in ("own", "recent", "old"))
    alive = tmp_path / f".x.staging-{os.getpid()}"
    dead = tmp_path / ".x.staging-999999999"
    alive.mkdir()
    dead.mkdir()
    week = time() - 8 * 24 * 3600
    os.utime(own, (week, week))
    os.utime(old, (week, week))
    remove_leftovers(tmp_path, own)
    assert {path for path in (own, recent, old, alive, dead) if path.exists()} == {own, recent, alive}
