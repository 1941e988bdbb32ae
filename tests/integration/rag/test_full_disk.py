"""A full disk is one line; what was half-written is gone, and the generation before still answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.rag.conftest import ROOT

_INDEX = """
import resource, subprocess, sys
from pathlib import Path
from quantserve.core.errors import ResourceError
from quantserve.rag.config import RagConfig
from quantserve.rag.ingest import index_paths
from quantserve.rag.store.base import open_store
from tests.integration.rag.fake_model import HashEmbedder, fake_model

root, index, kind, *sizes = Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]
config = RagConfig(index_dir=index, store="faiss", embedding=fake_model(root / "model"))
(root / "small.txt").write_text("The lamp is lit at sunset.")
(root / "large.txt").write_text("\\n\\n".join(f"Paragraph {n} of many. " * 40 for n in range(600)))
before = index_paths([root / "small.txt"], config, load_model=HashEmbedder).generation
most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
for size in map(int, sizes):
    if kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (size << 10, most))
    else:
        subprocess.run(["mount", "-o", f"remount,size={size}k", str(index.parent)], check=True)
    try:
        index_paths([root / "large.txt"], config, load_model=HashEmbedder)
    except ResourceError as error:
        said = str(error)
    else:
        said = "it fitted"
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    left = {path.name for path in index.iterdir()} - {".lock", "current"}
    print(left == {before} and open_store(config).open().name == before, said)
"""


def ran(*command: str) -> list[str]:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr)
    return done.stdout.splitlines()


def test_a_limit_on_files_is_met_at_any_point(tmp_path: Path) -> None:
    """At sizes at which the chunks, the table of vectors, the vectors and the words no longer fit."""
    index = str(tmp_path / "index")
    sizes = ("24", "64", "128", "256", "700")
    for line in ran(sys.executable, "-c", _INDEX, str(tmp_path), index, "limit", *sizes):
        assert line.startswith("True "), line
        assert "was not written" in line or "cannot be written" in line, line
        assert index in line


def test_a_disk_that_runs_full(tmp_path: Path) -> None:
    """A file system of its own, in memory, in a mount namespace that ends with the process."""
    index = tmp_path / "disk" / "index"
    index.parent.mkdir()
    mounted = f'mount -t tmpfs -o size=300k tmpfs {index.parent} && exec "$@"'
    inside = ("unshare", "--mount", "sh", "-c", mounted, "sh")
    command = (sys.executable, "-c", _INDEX, str(tmp_path), str(index), "disk")
    said = (
        f"True the disk that holds {index} is full: the index was not written, nothing half-written "
        "was left. Free some space, or name a folder on another disk"
    )
    assert ran(*inside, *command, "200", "400", "600", "900") == [said] * 4


_READ_ONLY = 'mount -t tmpfs -o ro tmpfs "$DISK" && exec "$@"'


@pytest.mark.parametrize(
    ("index", "prefix", "reason"),
    [
        ("disk/index", ["unshare", "--mount", "sh", "-c", _READ_ONLY, "sh"], "Read-only file system"),
        ("a.txt/index", [], "Not a directory"),
    ],
    ids=["read-only", "a-file"],
)
def test_a_folder_that_may_not_be_written_is_one_line(
    index: str, prefix: list[str], reason: str, tmp_path: Path
) -> None:
    document = tmp_path / "a.txt"
    document.write_text("x")
    (tmp_path / "disk").mkdir()
    command = [*prefix, sys.executable, "-m", "quantserve.rag", "index", str(document)]
    environment = {**os.environ, "DISK": str(tmp_path / "disk")}
    done = subprocess.run(
        [*command, "--index-dir", str(tmp_path / index)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == 6, done.stderr
    assert f"the index cannot be written to {tmp_path / index}: {reason}" in done.stderr
