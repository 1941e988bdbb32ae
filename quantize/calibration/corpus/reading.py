"""Read the hand-written sources: `sources/SET/LANGUAGE/KIND[-NUMBER][.chat].md`, several documents a file.

A line `%%% slug` opens a document. In a `.chat.md` file a line `%% system`, `%% user` or `%% assistant`
opens a turn. Everything else is the text as it is, so that prose, code and tables are written and
reviewed as themselves, without escapes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from quantserve.core.errors import InputError

ROLES = ("system", "user", "assistant")
_NAME = re.compile(r"(?P<kind>[a-z_]+)(?:-\d+)?(?P<chat>\.chat)?\.md")
_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


@dataclass(frozen=True)
class Source:
    """A document as it was written; `turns` is one (None, text) pair for plain text."""

    id: str
    language: str
    kind: str
    turns: tuple[tuple[str | None, str], ...]

    @property
    def text(self) -> str:
        """All that is said in the document, without the roles."""
        return "\n\n".join(text for _, text in self.turns)

    def row(self) -> dict[str, object]:
        """Return the line that the assembled file holds for this document."""
        head: dict[str, object] = {"id": self.id, "language": self.language, "kind": self.kind}
        if self.turns[0][0] is None:
            return {**head, "text": self.text}
        return {**head, "messages": [{"role": role, "content": text} for role, text in self.turns]}


def read_set(folder: Path) -> list[Source]:
    """Return the documents of `folder/LANGUAGE/*.md`, by language, file name and place in the file.

    Raises:
        InputError: a missing folder, or a file that is not written in the form above.
    """
    files = sorted(folder.glob("*/*"))
    if not files:
        raise InputError(
            f"{folder} holds no sources", mend="Run the generator in a checkout of the repository"
        )
    return [source for file in files for source in _read_file(file)]


def _read_file(file: Path) -> list[Source]:
    name = _NAME.fullmatch(file.name)
    if name is None:
        raise InputError(f"{file} is not named KIND.md or KIND.chat.md")
    language, kind = file.parent.name, name["kind"]
    opening, *parts = re.split(r"^%%% (.*)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    if opening.strip() or not parts:
        raise InputError(f"{file} does not begin with a line '%%% slug'")
    sources = []
    for slug, body in zip(parts[::2], parts[1::2], strict=True):
        if _SLUG.fullmatch(slug) is None:
            raise InputError(f"{file}: '{slug}' is not a slug of small letters, digits and hyphens")
        turns = _turns(body, f"{file}: {slug}") if name["chat"] else ((None, body.strip()),)
        sources.append(Source(f"{language}-{kind}-{slug}", language, kind, turns))
    return sources


def _turns(body: str, where: str) -> tuple[tuple[str | None, str], ...]:
    opening, *parts = re.split(r"^%% (\w+)$", body, flags=re.MULTILINE)
    roles, texts = parts[::2], [text.strip() for text in parts[1::2]]
    spoken = roles[1:] if roles[:1] == ["system"] else roles
    alternate = ["user", "assistant"] * (len(spoken) // 2)
    if opening.strip() or not spoken or spoken != alternate:
        raise InputError(f"{where}: turns must be [system], then user and assistant by turns, not {roles}")
    return tuple(zip(roles, texts, strict=True))
