"""What the documents name is there: targets, commands, options, files, variables, links."""

from __future__ import annotations

import json
import re
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.programs import ROOT
from tests.unit.docs.texts import (
    DOCUMENTS,
    PROGRAMS,
    SAMPLES,
    Command,
    code_of,
    commands_of,
    name,
    options_of,
)

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = frozenset(re.findall(r"^([a-z-]+):", MAKEFILE, re.M))
FOLDERS = (
    "core",
    "quantize",
    "serving",
    "rag",
    "benchmarks",
    "deploy",
    "docs",
    "samples",
    "tests",
    "requirements",
)
FOREIGN_OPTIONS = {
    "--cacert",
    "--head",
    "--address",
    "--port",
    "--python",
    "--no-deps",
    "--api-key",
    "--spec-type",
    "--pid",
}
"""Of ray, uv, vLLM and llama.cpp."""
VLLM = frozenset(json.loads((ROOT / "serving/planning/vllm_options.json").read_text())["options"])


def _commands(paths: list[Path]) -> list[pytest.param]:  # type: ignore[valid-type]
    return [
        pytest.param(command, id=f"{name(path)}: {command.text.strip()[:90]}")
        for path in paths
        for command in commands_of(path)
    ]


@pytest.mark.parametrize("path", [*DOCUMENTS, *SAMPLES], ids=name)
def test_every_make_target_is_there(path: Path) -> None:
    named = {target for line in code_of(path) for target in re.findall(r"(?:^|\s)make ([a-z][a-z-]*)", line)}
    assert named <= TARGETS


@pytest.mark.parametrize("path", [*DOCUMENTS, *SAMPLES], ids=name)
def test_every_variable_of_make_is_read(path: Path) -> None:
    read = frozenset(re.findall(r"\$\((?:or \$\()?([A-Z_]+)\)?", MAKEFILE)) | frozenset(
        re.findall(r"^export (.*)$", MAKEFILE, re.M)[0].split()
    )
    for line in code_of(path):
        if re.search(r"(?:^|\s)make [a-z]", line):
            assert set(re.findall(r"\s([A-Z_]{2,})=", line)) <= read | {"Q"}, line


@pytest.mark.parametrize("command", _commands([*DOCUMENTS, *SAMPLES]))
def test_every_command_and_option_is_taken(command: Command) -> None:
    known = options_of(command.program)
    plain = [word for word in command.words if not word.startswith("-")]
    named = next((" ".join(plain[:size]) for size in (2, 1) if " ".join(plain[:size]) in known), None)
    if named is None or not plain:
        assert not command.by_module or not plain or not re.fullmatch(r"[a-z][a-z-]+", plain[0]), command.text
        return
    given = {
        word.partition("=")[0].strip("[]().,") for word in command.words if word.startswith(("--", "[--"))
    }
    assert given <= known[named], command.text


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_option_named_by_itself_is_somebodys(path: Path) -> None:
    ours = {one for program in PROGRAMS for options in options_of(program).values() for one in options}
    named = {match for line in code_of(path) for match in re.findall(r"^(--[a-z][a-z0-9-]+)", line)}
    source = {one for one in named - ours - VLLM - FOREIGN_OPTIONS if f'"{one}"' not in _python()}
    assert source == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_module_that_is_run_is_there(path: Path) -> None:
    modules = {one for line in code_of(path) for one in re.findall(r"python[\d.]* -m ([a-z_][\w.]*)", line)}
    for module in modules - {"vllm.entrypoints.openai.api_server"}:
        assert find_spec(module) is not None, module


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_file_of_the_repository_is_there(path: Path) -> None:
    pattern = re.compile(rf"(?:^|\s)((?:{'|'.join(FOLDERS)})/[\w./-]*(?:\.\w+|/))(?=$|[\s:,;)])")
    for line in code_of(path):
        for named in pattern.findall(line):
            assert (ROOT / named).exists(), f"{named} in {line}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_variable_of_ours_is_read_somewhere(path: Path) -> None:
    named = set(re.findall(r"\b((?:QUANTSERVE|RAG|EMBED|HF|OTEL)_[A-Z0-9_]+)\b", "\n".join(code_of(path))))
    outside = {"HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE", "OTEL_EXPORTER_OTLP_ENDPOINT"}
    for variable in named - outside:
        assert variable in _python() or variable in MAKEFILE, variable


@pytest.mark.parametrize("path", [*DOCUMENTS, ROOT / "samples/README.md", ROOT / "CHANGELOG.md"], ids=name)
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), target
        if anchor:
            assert anchor in _anchors(found), target


@cache
def _anchors(path: Path) -> frozenset[str]:
    """Headings as GitHub names them."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
    return frozenset(re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles)


@cache
def _python() -> str:
    files = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    return "\n".join(
        (ROOT / file).read_text(encoding="utf-8") for file in files if not file.startswith("tests/")
    )


def test_the_checks_see_commands_and_options() -> None:
    seen = [command for path in DOCUMENTS for command in commands_of(path)]
    assert {command.program for command in seen} == set(PROGRAMS)
    assert len(seen) > 100
    assert "--max-num-seqs" in VLLM
    assert "--keys" in options_of("serving")["up"]
    assert "create" not in options_of("serving")
    assert "--expires" in options_of("serving")["keys create"]
