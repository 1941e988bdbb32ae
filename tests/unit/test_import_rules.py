"""The import rules of docs/architecture.md: each package can be installed, run and replaced alone."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = {"core", "quantize", "serving", "rag", "benchmarks", "deploy"}
CORE_LIBRARIES = {"pydantic", "rich", "typer"}
ENGINE_SIDE = {"vllm"}

# package → what of ours it may import; a dotted name allows that module only
ALLOWED: dict[str, set[str]] = {
    "core": set(),
    "quantize": {"core"},
    "serving": {"core", "quantserve.quantize.artifact"},
    "rag": {"core"},
    "benchmarks": {"core"},
    "deploy": {"core"},
}
ALLOWED_IN_FILE: dict[str, set[str]] = {
    "benchmarks/programs/rag.py": {"rag"},
    "benchmarks/programs/corpus.py": {"rag"},
    "benchmarks/programs/embedding.py": {"rag"},
}


def modules_imported(path: Path) -> set[str]:
    """Return every module a file imports, wherever in the file it does so."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def allowed(module: str, permitted: set[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in permitted)


def violations(package: str) -> list[str]:
    found = []
    for path in sorted((ROOT / package).rglob("*.py")):
        where = str(path.relative_to(ROOT))
        permitted = ALLOWED[package] | {package} | ALLOWED_IN_FILE.get(where, set())
        ours = {module for module in modules_imported(path) if module.split(".")[0] in OURS}
        # `from quantserve.quantize import artifact` shows as quantize too: the parent alone is harmless
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


def test_core_needs_only_its_three_libraries() -> None:
    import sys

    for path in (ROOT / "core").rglob("*.py"):
        for module in modules_imported(path):
            top = module.split(".")[0]
            assert top in sys.stdlib_module_names | CORE_LIBRARIES | {"core"}, f"{path}: {module}"


def test_the_artifact_seam_needs_nothing_beyond_core() -> None:
    import sys

    for name in ("__init__.py", "artifact.py"):
        for module in modules_imported(ROOT / "quantize" / name):
            top = module.split(".")[0]
            assert top in sys.stdlib_module_names | {"pydantic", "core"}, f"quantize/{name}: {module}"


def test_only_serving_imports_the_engine() -> None:
    for package in sorted(OURS - {"serving"}):
        for path in (ROOT / package).rglob("*.py"):
            tops = {module.split(".")[0] for module in modules_imported(path)}
            assert not tops & ENGINE_SIDE, f"{path} imports the engine; it must speak HTTP"


def test_deploy_local_runs_before_any_environment_exists() -> None:
    import sys

    for path in (ROOT / "deploy" / "local").glob("*.py"):
        for module in modules_imported(path):
            top = module.split(".")[0]
            assert top in sys.stdlib_module_names | {"core", "deploy"}, f"{path}: {module}"
            assert top != "core" or not module.startswith("quantserve.core.console"), (
                f"{path}: core.console needs rich"
            )


# Inside a package: its folders and files in the order in which they may import; none imports a later one.
LAYERS: dict[str, tuple[str, ...]] = {
    "quantize": (
        *("config", "artifact", "worker"),
        *("models", "calibration", "methods", "run", "gate", "lifecycle", "ladder"),
        *("api", "cli", "__main__"),
    ),
}
# The same for the folders inside a folder; its own files come last and may import all of them.
CHAPTERS: dict[str, tuple[str, ...]] = {
    "quantserve.quantize.calibration": ("corpus",),
    "quantserve.quantize.methods": ("formats", "layers", "proof"),
    "quantserve.quantize.gate": ("facts", "measure", "judge", "report"),
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
