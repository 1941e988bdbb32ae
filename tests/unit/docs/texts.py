"""The documents, their links, their code, and the commands in it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import typer

import quantserve.benchmarks.__main__
import quantserve.quantize.__main__
import quantserve.rag.__main__
import quantserve.serving.__main__

ROOT = Path(__file__).parents[3]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SAMPLES = [
    path
    for folder in ("documents", "sources")
    for path in sorted((ROOT / "samples" / folder).iterdir())
    if path.suffix in {".md", ".txt", ".html", ".csv"}
]
PROGRAMS = {
    "quantize": quantserve.quantize.__main__.app,
    "serving": quantserve.serving.__main__.app,
    "rag": quantserve.rag.__main__.app,
    "benchmarks": quantserve.benchmarks.__main__.app,
}
_FENCE = re.compile(r"^```.*?\n(.*?)^```", re.M | re.S)
_SPAN = re.compile(r"`([^`\n]+)`")
_COMMAND = re.compile(r"(?:-m )?\b(quantize|serving|rag|benchmarks)((?:\s+[^\s|>]+)*)")


@dataclass(frozen=True)
class Command:
    """A command of one of our programs, as a document writes it."""

    text: str
    program: str
    words: tuple[str, ...]
    by_module: bool
    """Written `python -m PROGRAM`: then it can be nothing else."""


def name(path: Path) -> str:
    """A document's name for a test."""
    return str(path.relative_to(ROOT))


@cache
def code_of(path: Path) -> tuple[str, ...]:
    """Every line of a document's code, fenced or in a sentence."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        return tuple(re.findall(r"<code>(.*?)</code>", text))
    fenced = [line for block in _FENCE.findall(text) for line in block.splitlines()]
    return (*fenced, *_SPAN.findall(_FENCE.sub("", text)))


def commands_of(path: Path) -> Iterator[Command]:
    """Our programs' commands in a document's code; what stands after ` -- ` is vLLM's."""
    for line in code_of(path):
        code = re.split(r"\s#\s|\s--(?:\s|$)|\s+(?:&&|\|)\s+", line)[0]
        match = _COMMAND.search(code)
        if match is None or not re.match(r"(?:$|.*\s|.*-m )", code[: match.start()]):
            continue
        by_module = match[0].startswith("-m ")
        if not by_module and match.start() != 0:
            continue
        try:
            words = tuple(shlex.split(match[2]))
        except ValueError:  # an apostrophe: a sentence, no command
            continue
        yield Command(line, match[1], words, by_module)


@cache
def options_of(program: str) -> dict[str, frozenset[str]]:
    """The options of every command of a program, groups' commands as `keys create`."""
    group = typer.main.get_command(PROGRAMS[program])
    return dict(_walk(group, ()))


def _walk(command: Any, names: tuple[str, ...]) -> Iterator[tuple[str, frozenset[str]]]:
    children = getattr(command, "commands", {})
    for child_name, child in children.items():
        yield from _walk(child, (*names, child_name))
    options = {one for parameter in command.params for one in (*parameter.opts, *parameter.secondary_opts)}
    yield " ".join(names), frozenset(one for one in options if one.startswith("-")) | {"--help"}
