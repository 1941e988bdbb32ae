"""A program runs where the code of the others is missing, as docs/architecture.md says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import ROOT

IMPORT_ALL = """
import importlib, pkgutil, sys
folder, package = sys.argv[1:]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in str(finder).lower()]
sys.path = [folder, *(path for path in sys.path if "site-packages" in path or "python3" in path)]
package = importlib.import_module(f"quantserve.{package}")
missing = []
for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not found.name.endswith("__main__"):
        try:
            importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            missing.append(f"{found.name} needs {error.name}".replace("quantserve.", ""))
print("\\n".join(missing))
"""


_NEED_METHODS = [
    f"deploy.local.{name} needs quantize"
    for name in ("clean", "doctor", "options", "port", "rollback", "stages", "up")
]


@pytest.mark.parametrize(
    ("package", "needs"),
    [
        ("rag", []),
        ("deploy", _NEED_METHODS),
        (
            "benchmarks",
            [f"benchmarks.scenarios.rag.{name} needs rag" for name in ("answers", "corpus", "embedding")],
        ),
    ],
)
def test_a_package_imports_without_the_others(package: str, needs: list[str], tmp_path: Path) -> None:
    for name in ("core", package, "requirements"):
        shutil.copytree(ROOT / name, tmp_path / "quantserve" / name)
    shutil.copy(ROOT / "quantserve/__init__.py", tmp_path / "quantserve")
    argv = [sys.executable, "-c", IMPORT_ALL, str(tmp_path), package]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n") == [*(needs or [""]), ""]
