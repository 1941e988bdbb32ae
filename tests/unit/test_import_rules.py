"""The import rules of docs/architecture.md: each package can be installed, run and replaced alone."""

from __future__ import annotations

import ast
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
    "deploy": {"core"},
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


# Package → its parts (folders and files at its top) from below: a part imports itself and what stands before
# it; parts named together import each other in no circle. Every part is named; a package joins by a row.
LAYERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "benchmarks": (
        ("errors",),
        ("records",),
        ("processes",),
        ("servers",),
        ("load",),
        ("measure",),
        ("report",),
        ("peers",),
        ("scenarios",),
        ("tune",),
        ("cli",),
        ("__main__",),
    ),
}


def part_of(module: str, package: str) -> str:
    """Return the folder or file of a package that a module is or is in; "" for the package itself."""
    words = module.split(".")
    return words[1] if len(words) > 1 and words[0] == package else ""


def edges(package: str) -> dict[str, set[str]]:
    """Return the modules of a package, each with those of the package that it imports."""
    names = {}
    for path in (ROOT / package).rglob("*.py"):
        relative = path.relative_to(ROOT).with_suffix("")
        names[".".join(relative.parts).removesuffix(".__init__")] = path
    found = {}
    for name, path in names.items():
        imported = modules_imported(path) & names.keys()
        # `from a.b import c` shows as a.b too: where c is a module, the folder itself is not meant
        deeper = {other.rpartition(".")[0] for other in imported}
        faces = {other for other in imported if other in deeper and not _names_of_face(path, other, names)}
        found[name] = imported - faces - {name}
    return found


def _names_of_face(path: Path, face: str, names: dict[str, Path]) -> bool:
    """Whether a file imports from a folder's `__init__` something that is no module."""
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module is not None
        and node.module.removeprefix("quantserve.") == face
        and any(f"{face}.{alias.name}" not in names for alias in node.names)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    )


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected components of more than one node (Tarjan, SIAM J. Comput. 1(2), 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            component = sorted(stack[at:])
            del stack[at:]
            if len(component) > 1:
                found.append(component)

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set(), "f": {"f", "a"}}
    assert circles(graph) == [["a", "b", "c"]]


@pytest.mark.parametrize("package", sorted(LAYERS))
def test_imports_run_one_way_between_the_parts_of_a_package(package: str) -> None:
    layer = {part: number for number, parts in enumerate(LAYERS[package]) for part in parts}
    graph = edges(package)
    parts = {part_of(module, package) for module in graph} - {""}
    assert parts == layer.keys(), "name every part in LAYERS"
    upward = [
        f"{module} imports {other}"
        for module, others in graph.items()
        for other in others
        if part_of(module, package) and part_of(other, package)
        if layer[part_of(module, package)] < layer[part_of(other, package)]
    ]
    assert upward == []
    by_part: dict[str, set[str]] = {part: set() for part in parts}
    for module, others in graph.items():
        if part_of(module, package):
            by_part[part_of(module, package)] |= {part_of(other, package) for other in others} - {""}
    assert circles(by_part) == []


@pytest.mark.parametrize("package", sorted(LAYERS))
def test_no_files_import_each_other_in_a_circle(package: str) -> None:
    assert circles(edges(package)) == []
