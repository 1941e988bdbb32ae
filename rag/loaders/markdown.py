"""Markdown: the text under each heading is a section whose heading is the path of titles above it."""

from __future__ import annotations

import re
from pathlib import Path

from quantserve.rag.loaders.document import Section, Sections, Warn
from quantserve.rag.loaders.encoding import decode, read_whole
from quantserve.rag.loaders.headings import HeadingPath

_FENCE = re.compile(r"^[ ]{0,3}(```+|~~~+)")
_FRONT_MARKS = ("---", "+++")
_MOST_LEVELS = 6
_NO_TITLE = frozenset("#>-*+|`~=")
"""What a line begins with that is no paragraph, and so no heading when it is underlined."""


def sections(path: Path, warn: Warn) -> Sections:
    """Read a Markdown file: comments are left out, and front matter gives its title alone."""
    yield from split_headings(without_comments(decode(read_whole(path), path.name)), is_markdown=True)


def without_comments(text: str) -> str:
    """Take HTML comments out, which no reader sees; what stands in fenced code stays."""
    if "<!--" not in text:
        return text
    kept: list[str] = []
    fence, is_open = "", False
    for line in text.splitlines(keepends=True):
        mark = None if is_open else _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence):
            fence = ""
        if fence or mark:
            kept.append(line)
            continue
        shown = ""
        while line:
            before, found, line = line.partition("-->" if is_open else "<!--")
            shown += "" if is_open else before
            if not found:
                break
            is_open = not is_open
        if is_open and not shown.endswith("\n"):
            shown += "\n"
        kept.append(shown)
    return "".join(kept)


def split_headings(text: str, *, is_markdown: bool = False) -> tuple[Section, ...]:
    """Cut at headings; sections are stripped and never empty.

    `is_markdown`: underlined headings and front matter count, too. A `#` inside a fenced block is no heading.
    """
    found: list[Section] = []
    titles = HeadingPath()
    title, offset = _front_matter(text) if is_markdown else ("", 0)
    start = offset
    if title:
        titles.enter(0, title)
    fence = ""
    above: tuple[int, str] | None = None
    """Where the line before begins, and what it says, while it may be a heading that is underlined next."""

    bare: tuple[int, str, int] | None = None
    """Level, title and place of a heading with no text under it so far: the title itself is what is said
    there."""

    def close(end: int, next_level: int = 0) -> None:
        nonlocal bare
        body = text[start:end]
        stripped = body.strip()
        if stripped:
            lead = len(body) - len(body.lstrip())
            found.append(Section(stripped, heading=str(titles), start=start + lead))
        elif bare is not None and next_level <= bare[0]:
            found.append(Section(bare[1], heading=titles.above(bare[0]), start=bare[2]))
        bare = None

    for line in text[offset:].splitlines(keepends=True):
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and fence and mark[1].startswith(fence):
            fence = ""
        heading = None if fence or mark else _heading(line)
        begins = offset
        if heading is None and above is not None and (level := _underline(line)):
            heading, begins = (level, above[1]), above[0]
        if heading:
            close(begins, heading[0])
            bare = (*heading, text.index(heading[1], begins))
            if heading != (1, title):  # a page's first heading often repeats its front matter's title
                titles.enter(*heading)
            start = offset + len(line)
        is_paragraph = is_markdown and not (fence or mark or heading)
        above = _may_be_title(offset, line, above is not None) if is_paragraph else None
        offset += len(line)
    close(offset)
    return tuple(found)


def _front_matter(text: str) -> tuple[str, int]:
    """Return the title of a text's front matter, and where the text itself begins."""
    mark = text[:3]
    lines = text.splitlines(keepends=True)
    if mark not in _FRONT_MARKS or lines[0].strip() != mark:
        return "", 0
    title, end = "", len(lines[0])
    for line in lines[1:]:
        end += len(line)
        if line.strip() == mark:
            return title, end
        name, _, value = line.replace("=", ":", 1).partition(":")
        if name.strip().lower() == "title" and not title:
            title = " ".join(value.strip().strip("\"'").split())
    return "", 0  # it never ends: it was none


def _heading(line: str) -> tuple[int, str] | None:
    """Return (level, title) of a line like `## Title ##`; a pattern would be slow on a line of blanks."""
    level = len(line) - len(line.lstrip("#"))
    if not 1 <= level <= _MOST_LEVELS or line[level : level + 1] not in (" ", "\t"):
        return None
    title = line[level:].strip()
    closed = title.rstrip("#")
    if closed != title and (not closed or closed[-1] in " \t"):
        title = closed.rstrip()
    return (level, title) if title else None


def _underline(line: str) -> int:
    """Return the level that a line of = or - gives the line above it; 0 for any other line."""
    bare = line.rstrip()
    indent = len(bare) - len(bare.lstrip(" "))
    marks = set(bare.strip())
    return {"=": 1, "-": 2}.get(marks.pop(), 0) if len(marks) == 1 and indent <= 3 else 0


def _may_be_title(offset: int, line: str, is_continued: bool) -> tuple[int, str] | None:
    """Return the place and text of a line that an underline would make a heading: a paragraph of one line."""
    bare = line.strip()
    indent = len(line) - len(line.lstrip(" \t"))
    if (
        not bare
        or is_continued
        or indent > 3
        or bare[0] in _NO_TITLE
        or (bare[0].isdigit() and bare[1:2] in ".)")
    ):
        return None
    return offset, bare
