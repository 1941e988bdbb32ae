"""Markdown: the text under each heading is a section whose heading is the path of titles above it."""

from __future__ import annotations

import re
from pathlib import Path

from rag.loaders.document import LoadedDocument, Section
from rag.loaders.plain import decode

_HEADING = re.compile(r"^(#{1,6})[ \t]+(.+?)[ \t]*#*[ \t]*$")
_FENCE = re.compile(r"^[ ]{0,3}(```+|~~~+)")
_FRONT_MATTER = re.compile(r"\A---\r?\n.*?\r?\n---\r?\n", re.DOTALL)
SEPARATOR = " › "


def load(path: Path) -> LoadedDocument:
    """Read a Markdown file. A `#` inside a fenced block is no heading; front matter is passed over."""
    return LoadedDocument(split_headings(decode(path.read_bytes(), path.name)))


def split_headings(text: str) -> tuple[Section, ...]:
    """Cut at headings; sections are stripped and never empty."""
    sections: list[Section] = []
    titles: list[tuple[int, str]] = []
    front = _FRONT_MATTER.match(text)
    offset = start = front.end() if front else 0
    fence = ""

    def close(end: int) -> None:
        body = text[start:end]
        stripped = body.strip()
        if stripped:
            lead = len(body) - len(body.lstrip())
            heading = SEPARATOR.join(title for _, title in titles)
            sections.append(Section(stripped, heading=heading, start=start + lead))

    for line in text[offset:].splitlines(keepends=True):
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and fence and mark[1].startswith(fence):
            fence = ""
        heading = None if fence or mark else _HEADING.match(line.rstrip("\r\n"))
        if heading:
            close(offset)
            level = len(heading[1])
            titles = [entry for entry in titles if entry[0] < level] + [(level, heading[2])]
            start = offset + len(line)
        offset += len(line)
    close(offset)
    return tuple(sections)
