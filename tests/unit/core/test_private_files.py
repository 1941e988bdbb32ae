"""What holds keys, questions, answers or logs is its owner's alone, whatever the umask says."""

from __future__ import annotations

import ast
import logging
import os
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from quantserve.core.files import (
    exclusive_lock,
    one_at_a_time,
    open_private,
    private_file,
    private_folder,
    staged_directory,
    write_json,
    write_text,
)
from quantserve.core.http.key_commands import create_key, revoke_key
from quantserve.core.http.private_log import PrivateLog
from quantserve.core.logs import PrivateLogFile
from quantserve.rag.cache.table import AnswerTable
from quantserve.rag.config import CacheConfig
from quantserve.rag.server.config import key_rules
from quantserve.rag.store.generation import IndexStore
from quantserve.serving.batch.output import open_output
from quantserve.serving.guard.internal import use_internal_key
from tests.programs import ROOT


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=["umask-000", "umask-022", "umask-077"])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _keys(folder: Path) -> None:
    create_key(folder / "keys.json", key_rules(), "alice")
    create_key(folder / "keys.json", key_rules(), "bob")
    revoke_key(folder / "keys.json", key_rules(), "bob")
    (folder / ".keys.json.lock").unlink()  # holds a process id


def _answers(folder: Path) -> None:
    table = AnswerTable(folder / "answers.db", CacheConfig())
    table.put("scope", "key", "a question", {"text": "an answer"}, None)
    assert {path.name for path in folder.iterdir()} == {"answers.db", "answers.db-wal", "answers.db-shm"}


def _damaged_answers(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / "answers.db").write_bytes(b"no database" * 200)
    AnswerTable(folder / "answers.db", CacheConfig()).put("scope", "key", "a question", {"text": "x"}, None)


def _request_log(folder: Path) -> None:
    log = PrivateLog(folder / "rag.jsonl", max_bytes=60, files=2, what="log", mend="")
    for number in range(8):
        log.add({"number": number, "path": "/documents"})
    log.close()
    assert (folder / "rag.jsonl.1").is_file()


def _rotated(folder: Path) -> None:
    handler = PrivateLogFile(folder / "a.log", max_bytes=10, files=2)
    for text in ("a longer line than that", "another of the same length"):
        handler.emit(logging.makeLogRecord({"msg": text}))
    handler.close()


def _batch(folder: Path) -> None:
    private_folder(folder)
    (folder / "answers.jsonl").write_text("half a line")  # from before: readable for others
    with open_output(folder / "answers.jsonl"):
        pass
    (folder / ".answers.jsonl.lock").unlink()  # holds a process id


WRITERS = (
    _keys,
    _answers,
    _damaged_answers,
    _request_log,
    _rotated,
    _batch,
    use_internal_key,
)


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__.strip("_"))
def test_a_writer_of_private_files_leaves_none_open(
    write: Callable[[Path], object], umask: int, tmp_path: Path
) -> None:
    folder = tmp_path / "made" / "run"
    if write is _damaged_answers:
        folder.parent.mkdir(mode=0o700)
    write(folder)
    assert mode_of(folder) == 0o700
    assert {path.name: mode_of(path) for path in folder.iterdir()} == {
        path.name: 0o600 for path in folder.iterdir()
    }
    assert list(folder.iterdir())


@pytest.mark.parametrize("lock", [one_at_a_time, partial(exclusive_lock, what="a test")])
def test_a_lock_of_private_files_makes_no_folder_for_others(lock: Any, umask: int, tmp_path: Path) -> None:
    with lock(tmp_path / "run" / "keys.lock", private=True):
        assert mode_of(tmp_path / "run") == 0o700


def test_an_indexs_folders_are_private(umask: int, tmp_path: Path) -> None:
    store = IndexStore(tmp_path / "run" / "index")

    def build(folder: Path) -> None:
        (folder / "manifest.json").write_text("{}")

    with store.writer_lock():
        store.publish(build)
    assert mode_of(tmp_path / "run" / "index") == 0o700
    assert mode_of(tmp_path / "run" / "index" / "gen-000001") == 0o700


def test_what_is_not_private_obeys_the_umask(umask: int, tmp_path: Path) -> None:
    write_text(tmp_path / "made" / "plain.txt", "x")
    with staged_directory(tmp_path / "staged"):
        pass
    assert mode_of(tmp_path / "made" / "plain.txt") == 0o666 & ~umask
    assert mode_of(tmp_path / "staged") == 0o777 & ~umask


def test_a_private_file_that_was_open_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("x")
    path.chmod(0o644)
    private_file(path)
    assert (mode_of(path), path.read_text()) == (0o600, "x")
    path.chmod(0o644)
    write_json(path, {}, private=True)
    assert mode_of(path) == 0o600


def test_a_device_keeps_its_mode() -> None:
    before = mode_of(Path("/dev/null"))
    open_private(Path("/dev/null"), "ab").close()
    assert mode_of(Path("/dev/null")) == before


# Writes whose content anybody may read, or whose folder is private or temporary.
_KNOWN = {
    "rag/store/postgres/generation.py": "a temporary folder",
    "serving/processes.py": "/proc",
    "serving/guard/launcher_client.py": "memory",
}


def _plain_writes(path: Path) -> list[int]:
    """Return the lines that open a file for writing without core.files."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        words = [
            argument.value
            for argument in node.args
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
        ]
        is_method = isinstance(function, ast.Attribute)
        opens = name in ("open", "fdopen") and any(word[:1] in ("w", "a", "x") for word in words[:2])
        if (opens and name != "fdopen") or (is_method and name in ("write_text", "write_bytes")):
            found.append(node.lineno)
    return found


def test_no_other_file_is_written_past_the_one_helper() -> None:
    writes = {
        str(path.relative_to(ROOT)): lines
        for package in ("rag", "serving")
        for path in (ROOT / package).rglob("*.py")
        if (lines := _plain_writes(path))
    }
    assert set(writes) <= set(_KNOWN), writes
