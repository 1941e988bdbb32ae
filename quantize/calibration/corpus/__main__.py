"""Check the sources and assemble both sets: `python -m quantserve.quantize.calibration.corpus [--check]`.

Writes `calibration.jsonl`, `evaluation.jsonl` and `README.md`, the same bytes from the same sources;
with `--check` writes nothing and fails when a file differs from what the sources give.

Sources are `sources/SET/LANGUAGE/KIND[-NUMBER][.chat].md`, several documents a file. A line `%%% slug`
opens a document; in a `.chat.md` file a line `%% system`, `%% user` or `%% assistant` opens a turn.
Everything else is the text as it is. Two documents overlap when they share a shingle: eight words in a row,
compared without case, punctuation and width; short enough to find a reworded paragraph and long enough to
be rare by chance.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from quantserve.core.errors import InputError, QuantserveError
from quantserve.core.files import write_text

_NAME = re.compile(r"(?P<kind>[a-z_]+)(?:-\d+)?(?P<chat>\.chat)?\.md")
_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
SHINGLE_WORDS = 8
MIN_CHARACTERS = 60
# In these kinds the Korean set quotes code or another language at length.
MIXED_KINDS = frozenset({"code", "data", "translation"})
MIN_HANGUL_SHARE = 0.35
_HANGUL = re.compile(r"[가-힣]")
FOLDER = Path(__file__).parent
SETS = ("calibration", "evaluation")
_README = """\
# Calibration and evaluation text

Written for this project, by hand, in English and Korean; every name, number and event in it is invented
unless it is common knowledge. Licence: the repository's. `calibration.jsonl` is what a method calibrates
on by default; `evaluation.jsonl` is what the gate measures on and nothing ever calibrates on. No eight
words in a row occur in two documents, neither within a set nor across the two.

Each line is `{{"id", "language", "kind", "text"}}` or, for chats, `{{"id", "language", "kind", "messages"}}`.
To change the text, edit `sources/SET/LANGUAGE/KIND.md` and run
`python -m quantserve.quantize.calibration.corpus`, which checks the
sources and writes both files and this page.

{tables}
"""


@dataclass(frozen=True)
class CorpusSource:
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


def read_set(folder: Path) -> list[CorpusSource]:
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


def _read_file(file: Path) -> list[CorpusSource]:
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
        sources.append(CorpusSource(f"{language}-{kind}-{slug}", language, kind, turns))
    return sources


def _turns(body: str, where: str) -> tuple[tuple[str | None, str], ...]:
    opening, *parts = re.split(r"^%% (\w+)$", body, flags=re.MULTILINE)
    roles, texts = parts[::2], [text.strip() for text in parts[1::2]]
    spoken = roles[1:] if roles[:1] == ["system"] else roles
    alternate = ["user", "assistant"] * (len(spoken) // 2)
    if opening.strip() or not spoken or spoken != alternate:
        raise InputError(f"{where}: turns must be [system], then user and assistant by turns, not {roles}")
    return tuple(zip(roles, texts, strict=True))


def shingles(text: str) -> set[tuple[str, ...]]:
    """Return every run of `SHINGLE_WORDS` words; a shorter text is one shingle."""
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())
    last = max(len(words) - SHINGLE_WORDS, 0)
    return {tuple(words[start : start + SHINGLE_WORDS]) for start in range(last + 1)}


def overlaps(sources: Iterable[CorpusSource], others: Iterable[CorpusSource]) -> list[str]:
    """Return one line for each pair of distinct documents that share a shingle."""
    held: dict[tuple[str, ...], list[CorpusSource]] = {}
    for other in others:
        for shingle in shingles(other.text):
            held.setdefault(shingle, []).append(other)
    found: dict[tuple[str, str], str] = {}
    for source in sources:
        for shingle in sorted(shingles(source.text) & held.keys()):
            for other in held[shingle]:
                if other is not source:
                    found.setdefault((source.id, other.id), " ".join(shingle))
    return [f"{first} and {second} share: {words}" for (first, second), words in found.items()]


def faults(sources: list[CorpusSource]) -> list[str]:
    """Return one line for each thing wrong inside one set."""
    lines = [f"{name} occurs {n} times" for name, n in Counter(s.id for s in sources).items() if n > 1]
    for source in sources:
        text = source.text
        if len(text) < MIN_CHARACTERS or not all(turn.strip() for _, turn in source.turns):
            lines.append(f"{source.id} is too short or has an empty turn")
        if text != unicodedata.normalize("NFC", text):
            lines.append(f"{source.id} is not in Unicode normal form C")
        if re.search(r"[\r\t\0]| $", text, flags=re.MULTILINE):
            lines.append(f"{source.id} has a tab, a carriage return or a space at a line's end")
        if source.kind not in MIXED_KINDS and not _in_language(source):
            lines.append(f"{source.id} is not in the language of its folder")
    return lines


def _in_language(source: CorpusSource) -> bool:
    letters = [c for c in source.text if c.isalpha()]
    share = len(_HANGUL.findall(source.text)) / max(len(letters), 1)
    return share >= MIN_HANGUL_SHARE if source.language == "ko" else share == 0


def assemble(sources: list[CorpusSource]) -> str:
    """Return the lines of a set's file."""
    return "".join(json.dumps(source.row(), ensure_ascii=False) + "\n" for source in sources)


def table(title: str, sources: list[CorpusSource]) -> str:
    """Return a Markdown table of documents, characters and bytes by language and kind."""
    documents: Counter[tuple[str, str]] = Counter()
    characters: Counter[tuple[str, str]] = Counter()
    size: Counter[tuple[str, str]] = Counter()
    for source in sources:
        for key in ((source.language, source.kind), (source.language, "**all**")):
            documents[key] += 1
            characters[key] += len(source.text)
            size[key] += len(source.text.encode())
    lines = [
        f"## {title}",
        "",
        "| language | kind | documents | characters | UTF-8 bytes |",
        "|---|---|--:|--:|--:|",
    ]
    for key in sorted(documents, key=lambda key: (key[0], key[1].startswith("*"), key[1])):
        lines.append(f"| {key[0]} | {key[1]} | {documents[key]} | {characters[key]:,} | {size[key]:,} |")
    return "\n".join(lines)


def build(folder: Path = FOLDER) -> dict[str, str]:
    """Return the content of each generated file by its name.

    Raises:
        InputError: naming every fault of the sources, and every overlap.
    """
    sets = {name: read_set(folder / "sources" / name) for name in SETS}
    calibration, evaluation = sets["calibration"], sets["evaluation"]
    wrong = [line for sources in sets.values() for line in faults(sources) + overlaps(sources, sources)]
    wrong += [f"across the sets: {line}" for line in overlaps(calibration, evaluation)]
    if wrong:
        raise InputError("The corpus sources are not fit to ship:\n  " + "\n  ".join(wrong))
    tables = "\n\n".join(table(name.capitalize(), sources) for name, sources in sets.items())
    files = {f"{name}.jsonl": assemble(sources) for name, sources in sets.items()}
    return {**files, "README.md": _README.format(tables=tables).rstrip() + "\n"}


def main(arguments: list[str] | None = None) -> int:
    """Write or check the generated files; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m quantserve.quantize.calibration.corpus", description=__doc__
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is out of date")
    check = parser.parse_args(arguments).check
    try:
        files = build()
    except QuantserveError as error:
        print(error, file=sys.stderr)
        return 1
    print(files["README.md"][files["README.md"].index("## ") :])
    print(f"Overlap: no {SHINGLE_WORDS} words in a row in two documents, within a set or across the two")
    stale = [
        n for n, c in files.items() if not (p := FOLDER / n).exists() or p.read_text(encoding="utf-8") != c
    ]
    if check:
        print(f"Out of date: {', '.join(stale)}" if stale else "Up to date")
        return 1 if stale else 0
    for name in stale:
        write_text(FOLDER / name, files[name])
    print(f"Written: {', '.join(stale)}" if stale else "Unchanged")
    return 0


if __name__ == "__main__":
    sys.exit(main())
