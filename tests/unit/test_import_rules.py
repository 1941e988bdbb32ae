"""The import rules of docs/architecture.md: each package can be installed, run and replaced alone."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import ROOT

OURS = {"core", "quantize", "serving", "rag", "benchmarks", "deploy"}
# folder or file of core → the libraries it may import; the longest name that fits counts
CORE_LIBRARIES: dict[str, set[str]] = {
    "core": {"pydantic", "rich", "typer"},
    "core/errors.py": set(),
    "core/files.py": set(),
    "core/home.py": set(),
    "core/http": {"pydantic", "pydantic_core"},
    "core/http/connections.py": {"uvicorn"},  # whose protocol it bounds; who runs none never imports it
    "core/http/key_commands.py": {"pydantic", "rich"},  # for command lines alone
    "core/http/keys.py": {"pydantic", "yaml"},  # yaml when a file written by hand is read
    "core/machine.py": set(),
    "core/process.py": set(),
    "core/report": {"jinja2", "markupsafe", "matplotlib", "rich"},
    "core/stats.py": {"numpy", "scipy"},
}
ENGINE_SIDE = {"vllm"}

# package → what of ours it may import; a dotted name allows that module only
ALLOWED: dict[str, set[str]] = {
    "core": set(),
    "quantize": {"core"},
    "serving": {"core", "quantize.artifact"},
    "rag": {"core"},
    "benchmarks": {"core"},
    "deploy": {"core", "quantize.config", "quantize.methods.registry"},
}
ALLOWED_IN_FILE: dict[str, set[str]] = {
    "benchmarks/scenarios/rag/answers.py": {"rag"},
    "benchmarks/scenarios/rag/corpus.py": {"rag"},
    "benchmarks/scenarios/rag/embedding.py": {"rag"},
}
BEFORE_ANY_ENVIRONMENT = ("__init__", "bootstrap", "environments", "install")
"""Files of deploy/local that run on a machine with nothing but Python."""


def modules_imported(path: Path) -> set[str]:
    """Return every module a file imports, wherever in the file it does so; ours without `quantserve.`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {name.removeprefix("quantserve.") for name in found}


def libraries_imported(path: Path) -> set[str]:
    """Return the names of the libraries a file imports, those of Python itself left out."""
    tops = {module.split(".")[0] for module in modules_imported(path)}
    return tops - set(sys.stdlib_module_names) - OURS - {"quantserve"}


def allowed(module: str, permitted: set[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in permitted)


def violations(package: str) -> list[str]:
    found = []
    for path in sorted((ROOT / package).rglob("*.py")):
        where = str(path.relative_to(ROOT))
        permitted = ALLOWED[package] | {package} | ALLOWED_IN_FILE.get(where, set())
        ours = {module for module in modules_imported(path) if module.split(".")[0] in OURS}
        # `from quantize import artifact` shows as quantize too: the parent alone is harmless
        parents = {name.rpartition(".")[0] for name in permitted if "." in name}
        found += [
            f"{where}: {module}"
            for module in ours
            if not allowed(module, permitted) and module not in parents
        ]
    return found


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_package_imports_only_what_the_architecture_allows(package: str) -> None:
    assert violations(package) == []


@pytest.mark.parametrize("folder", sorted({*OURS, "quantserve", "samples", "tests"}))
def test_our_packages_are_imported_below_the_one_name(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            bare = [name for name in names if name.split(".")[0] in OURS]
            assert not bare, f"{path}: import {bare[0]} as quantserve.{bare[0]}"


def test_each_part_of_core_needs_only_its_libraries() -> None:
    for path in (ROOT / "core").rglob("*.py"):
        where = path.relative_to(ROOT)
        known = [name for name in map(str, (where, *where.parents)) if name in CORE_LIBRARIES]
        assert libraries_imported(path) <= CORE_LIBRARIES[known[0]], where


@pytest.mark.parametrize("module", ["quantserve.core.http.exchange", "quantserve.core.http.keys"])
def test_what_every_server_does_imports_no_server(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, {module}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert {"uvicorn", "starlette", "fastapi", "yaml"}.isdisjoint(done.stdout.split())


def test_the_artifact_seam_needs_nothing_beyond_core() -> None:
    for name in ("__init__.py", "artifact.py"):
        path = ROOT / "quantize" / name
        ours = {module for module in modules_imported(path) if module.split(".")[0] in OURS}
        assert libraries_imported(path) <= {"pydantic"}, path
        assert all(module.split(".")[0] == "core" for module in ours), path


def test_only_serving_imports_the_engine() -> None:
    for package in sorted(OURS - {"serving"}):
        for path in (ROOT / package).rglob("*.py"):
            assert not libraries_imported(path) & ENGINE_SIDE, f"{path} must speak HTTP"


def test_what_makes_the_environments_needs_no_library() -> None:
    seen: set[str] = set()
    left = [f"deploy.local.{name}" for name in BEFORE_ANY_ENVIRONMENT]
    while left:
        module = left.pop()
        path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
        if module in seen or not path.is_file():
            continue
        seen.add(module)
        assert libraries_imported(path) == set(), f"{path} runs before any environment exists"
        left += [name for name in modules_imported(path) if name.split(".")[0] in OURS]
    assert "core.files" in seen


# Inside a package: its folders and files in the order in which they may import; none imports a later one.
LAYERS: dict[str, tuple[str, ...]] = {
    "benchmarks": (
        *("errors", "records", "processes", "servers"),
        *("load", "measure", "report", "peers", "scenarios", "tune"),
        *("cli", "__main__"),
    ),
    "quantize": (
        *("config", "artifact", "worker"),
        *("models", "calibration", "methods", "run", "gate", "lifecycle", "ladder"),
        *("api", "cli", "__main__"),
    ),
}
# The same for the folders inside a folder; its own files come last and may import all of them.
CHAPTERS: dict[str, tuple[str, ...]] = {
    "quantize.calibration": ("corpus",),
    "quantize.methods": ("formats", "layers", "proof"),
    "quantize.gate": ("facts", "measure", "judge", "report"),
}


@functools.cache
def modules_of(package: str) -> dict[str, set[str]]:
    """Return what each module of a package imports of it, by dotted names of modules.

    `from package import module` imports the module; the package itself is loaded with each of its parts.
    """
    files = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (ROOT / package).rglob("*.py")
    }
    imported: dict[str, set[str]] = {}
    for module, path in files.items():
        names = modules_imported(path)
        parents = {name.rpartition(".")[0] for name in names if name in files}
        imported[module] = {name for name in names if name in files and name not in parents} - {module}
    return imported


def place(module: str, above: str, order: tuple[str, ...]) -> int | None:
    """Return which of the parts in order a module belongs to; None where it is not below `above`."""
    if not module.startswith(f"{above}."):
        return None
    part = module.removeprefix(f"{above}.").partition(".")[0]
    return order.index(part) if part in order else len(order)


@pytest.mark.parametrize(("above", "order"), [*LAYERS.items(), *CHAPTERS.items()])
def test_folders_import_one_way(above: str, order: tuple[str, ...]) -> None:
    upwards = []
    for module, imported in modules_of(above.partition(".")[0]).items():
        here = place(module, above, order)
        upwards += [
            f"{module}: {name}"
            for name in imported
            if here is not None and (there := place(name, above, order)) is not None and there > here
        ]
    assert upwards == []


@pytest.mark.parametrize("package", LAYERS)
def test_every_part_of_a_package_has_its_layer(package: str) -> None:
    files = {path.stem for path in (ROOT / package).glob("*.py")} - {"__init__"}
    folders = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    assert files | folders == set(LAYERS[package])


@pytest.mark.parametrize("package", LAYERS)
def test_no_files_import_each_other_in_a_circle(package: str) -> None:
    left = modules_of(package)
    while free := {module for module, imported in left.items() if not imported & left.keys()}:
        left = {module: imported for module, imported in left.items() if module not in free}
    assert left == {}
