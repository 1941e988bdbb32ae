from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from quantserve.core.errors import ResourceError
from quantserve.core.files import (
    Locked,
    exclusive_lock,
    point_symlink,
    require_disk_space,
    sha256_file,
    staged_directory,
    write_json,
    write_text,
)


def test_sha256_of_a_known_text(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, example B.1
    assert sha256_file(tmp_path / "a") == expected


def test_write_replaces_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    write_text(tmp_path / "f.txt", "one")
    write_text(tmp_path / "f.txt", "둘")
    assert (tmp_path / "f.txt").read_text(encoding="utf-8") == "둘"
    assert [path.name for path in tmp_path.iterdir()] == ["f.txt"]


def test_a_value_json_cannot_hold_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "f.json", {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "f.json", {"a": float("nan")})
    assert json.loads((tmp_path / "f.json").read_text()) == {"a": 1}


def test_symlink_moves(tmp_path: Path) -> None:
    for name in ("v1", "v2"):
        (tmp_path / name).mkdir()
        point_symlink(tmp_path / "current", name)
        assert (tmp_path / "current").resolve().name == name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["current", "v1", "v2"]


def test_staged_directory_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    final = tmp_path / "made"

    def fail_midway() -> None:
        with staged_directory(final) as staging:
            (staging / "half").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_midway()
    assert list(tmp_path.iterdir()) == []
    with staged_directory(final) as staging:
        (staging / "whole").write_text("x")
        assert not final.exists()
    assert (final / "whole").read_text() == "x"


def test_a_killed_writers_staging_is_swept_by_the_next(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from quantserve.core.files import staged_directory\n"
        "with staged_directory(Path(sys.argv[1])) as s:\n"
        "    (s / 'half').write_text('x'); print('in', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "made")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"in\n"
        writer.send_signal(signal.SIGKILL)
    assert len(list(tmp_path.iterdir())) == 1
    with staged_directory(tmp_path / "made") as staging:
        (staging / "whole").write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def _hold(path: Path, ready: multiprocessing.synchronize.Event) -> None:
    with exclusive_lock(path, "work"):
        ready.set()
        signal.pause()


def test_a_lock_excludes_names_its_holder_and_dies_with_it(tmp_path: Path) -> None:
    ready = multiprocessing.Event()
    holder = multiprocessing.Process(target=_hold, args=(tmp_path / "lock", ready))
    holder.start()
    assert ready.wait(30)
    with pytest.raises(Locked, match=f"process {holder.pid}"), exclusive_lock(tmp_path / "lock", "work"):
        pass
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with exclusive_lock(tmp_path / "lock", "work"):
        pass


def test_too_full_a_disk_is_said_with_both_figures(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"needs 1\.0 PB on .* [\d.]+ [kMGT]?B are free"):
        require_disk_space(tmp_path / "not" / "yet", 10**15, "The work")
