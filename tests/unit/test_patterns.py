"""No regular expression over text from outside takes more than linear time: all patterns of the programs."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.programs import ROOT
from tests.unit.regex_growth import growth

PACKAGES = ("serving", "rag", "core")
METHODS = frozenset(
    {"compile", "search", "match", "fullmatch", "sub", "subn", "split", "findall", "finditer"}
)
ENGINE_ONLY = {"serving/tool_parsers.py"}
"""They import vLLM, which is not here; they have no patterns, or the test says so."""


@dataclass(frozen=True)
class Use:
    """A pattern and how it is used."""

    where: str
    pattern: Any
    flags: int
    methods: frozenset[str]


def calls_of_re(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr=attr)) if attr in METHODS:
                yield node


def methods_of_names(tree: ast.AST) -> dict[str, set[str]]:
    """Return which methods are called on each name of a file."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=attr):
                found.setdefault(name, set()).add(attr)
    return found


def uses_in(path: Path) -> Iterator[Use]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = list(calls_of_re(tree))
    where = str(path.relative_to(ROOT))
    if not calls or where in ENGINE_ONLY:
        assert not (calls and where in ENGINE_ONLY), where
        return
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    called = methods_of_names(tree)
    names = {
        id(node.value): node.targets[0].id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    for call in calls:
        assert isinstance(call.func, ast.Attribute)
        method = call.func.attr
        given = [kw.value for kw in call.keywords if kw.arg == "flags"]
        if method == "compile":
            given += call.args[1:2]
        methods = (
            frozenset({method})
            if method != "compile"
            else frozenset(called.get(names.get(id(call), ""), set()) & METHODS)
        )
        yield Use(
            f"{where}:{call.lineno}",
            value_of(call.args[0], module),
            int(value_of(given[0], module)) if given else 0,
            methods or frozenset({"search"}),
        )


def value_of(node: ast.expr, module: Any) -> Any:
    """Return what an expression of module level is; patterns put together elsewhere cannot be judged."""
    try:
        return eval(compile(ast.Expression(node), "pattern", "eval"), vars(module))
    except NameError:
        return None


USES = [use for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py")) for use in uses_in(path)]
# An operator's own words: the patterns of a guardrail's YAML are his to write.
LOCAL = {"rag/guardrails/load.py"}


def test_every_pattern_is_found_and_known_before_it_is_used() -> None:
    assert len(USES) > 60
    assert {use.where.partition(":")[0] for use in USES if use.pattern is None} <= LOCAL


def test_no_pattern_takes_more_than_linear_time() -> None:
    slow = [
        f"{use.where}: {found}: {use.pattern!r}"
        for use in USES
        if use.pattern is not None
        and (
            found := growth(
                use.pattern,
                use.flags,
                search=bool(use.methods - {"match", "fullmatch"}),
                full=use.methods == {"fullmatch"},
            )
        )
        != "linear"
    ]
    assert slow == []


OLD_UPLOAD = rb'name="model"\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]{1,256})\r\n'


@pytest.mark.parametrize(
    ("pattern", "search", "expected"),
    [
        (r"(a+)+b", True, "exponential"),
        (r"(a|a)*b", True, "exponential"),
        (r"(\d+)*x", False, "exponential"),
        (r"(a|b)*c", False, "linear"),
        (r"a*a*b", False, "polynomial"),
        (r".*a.*b", False, "polynomial"),
        (r"a.*b", False, "linear"),
        (r"a.*b", True, "polynomial"),
        (r"\s+", True, "linear"),
        (r"\s+$", True, "polynomial"),
        (r"(?<!\s)\s+$", True, "linear"),
        (r"\d+\.", True, "polynomial"),
        (r"\b\d+\.", True, "linear"),
        (r"<[^>]*>", True, "polynomial"),
        (r"<[^<>]*>", True, "linear"),
        (r"\d+(?:\.\d+)*", True, "linear"),
        (r"x(?=a*a*b)", False, "polynomial"),
        (OLD_UPLOAD, True, "polynomial"),
    ],
)
def test_growth_of_known_patterns(pattern: str | bytes, search: bool, expected: str) -> None:
    assert growth(pattern, search=search) == expected


def test_analysis_knows_all_that_pythons_parser_makes() -> None:
    every = r"(?i)^a[^b-d\s]\W.(?:e|f)+?g{2,3}(h)\1(?=i)(?<!j)\bk$(?>l*)m*+"
    assert growth(every, re.DOTALL) in ("linear", "polynomial")
    assert inspect.isfunction(growth)
