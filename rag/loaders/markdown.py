"""Markdown: the text under each heading is a section whose heading is the path of titles above it."""

from __future__ import annotations

import re
from pathlib import Path

from rag.loaders.document import Section, Sections, Warn
from rag.loaders.encoding import decode, read_whole
from rag.loaders.headings import HeadingPath

_HEADING = re.compile(r"^(#{1,6})[ \t]+(\S.*)")
_FENCE = re.compile(r"^[ ]{0,3}(```+|~~~+)")
_FRONT_MATTER = re.compile(r"\A---\r?\n.*?\r?\n---\r?\n", re.DOTALL)


def sections(path: Path, warn: Warn) -> Sections:
    """Read a Markdown file. A `#` inside a fenced block is no heading; front matter is passed over."""
    yield from split_headings(decode(read_whole(path), path.name))


def split_headings(text: str) -> tuple[Section, ...]:
    """Cut at headings; sections are stripped and never empty."""
    found: list[Section] = []
    titles = HeadingPath()
    front = _FRONT_MATTER.match(text)
    offset = start = front.end() if front else 0
    fence = ""

    def close(end: int) -> None:
        body = text[start:end]
        stripped = body.strip()
        if stripped:
            lead = len(body) - len(body.lstrip())
            found.append(Section(stripped, heading=str(titles), start=start + lead))

    for line in text[offset:].splitlines(keepends=True):
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and fence and mark[1].startswith(fence):
            fence = ""
        heading = None if fence or mark else _HEADING.match(line.rstrip("\r\n"))
        if heading:
            close(offset)
            titles.enter(len(heading[1]), heading[2].rstrip(" \t").rstrip("#").rstrip(" \t"))
            start = offset + len(line)
        offset += len(line)
    close(offset)
    return tuple(found)
