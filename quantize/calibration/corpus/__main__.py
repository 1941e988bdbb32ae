"""Check the sources and assemble both sets: `python -m quantserve.quantize.calibration.corpus [--check]`.

Writes `calibration.jsonl`, `evaluation.jsonl` and `README.md`, the same bytes from the same sources;
with `--check` writes nothing and fails when a file differs from what the sources give.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from quantserve.core.errors import InputError, QuantserveError
from quantserve.core.files import write_text
from quantserve.quantize.calibration.corpus.checks import SHINGLE_WORDS, faults, overlaps
from quantserve.quantize.calibration.corpus.reading import Source, read_set

FOLDER = Path(__file__).parent
SETS = ("calibration", "evaluation")
_README = """\
# Calibration and evaluation text

Written for this project, by hand, in English and Korean; every name, number and event in it is invented
unless it is common knowledge. Licence: the repository's. `calibration.jsonl` is what a method calibrates
on by default; `evaluation.jsonl` is what the gate measures on and nothing ever calibrates on. No eight
words in a row occur in two documents, neither within a set nor across the two.

Each line is `{{"id", "language", "kind", "text"}}` or, for chats, `{{"id", "language", "kind", "messages"}}`.
To change the text, edit `sources/SET/LANGUAGE/KIND.md` and run `python -m quantserve.quantize.calibration.corpus`,
which checks the sources and writes both files and this page.

{tables}
"""


def assemble(sources: list[Source]) -> str:
    """Return the lines of a set's file."""
    return "".join(json.dumps(source.row(), ensure_ascii=False) + "\n" for source in sources)


def table(title: str, sources: list[Source]) -> str:
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
