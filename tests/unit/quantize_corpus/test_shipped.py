"""The files that ship: what the sources give, valid line by line, large and varied enough, and apart."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from quantserve.quantize.calibration import corpus
from quantserve.quantize.calibration.corpus import SetName
from quantserve.quantize.calibration.corpus.__main__ import FOLDER, build

SETS: tuple[SetName, ...] = ("calibration", "evaluation")


def eight_word_runs(name: str, language: str) -> set[str]:
    """Found from the shipped file by another way than the generator's."""
    runs: set[str] = set()
    for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["language"] == language:
            text = row.get("text") or " ".join(m["content"] for m in row["messages"])
            words = re.sub(r"[\W]+", " ", text.lower()).split()
            runs |= {" ".join(words[i : i + 8]) for i in range(len(words) - 7)}
    return runs


def test_rebuilding_gives_the_same_bytes() -> None:
    for name, content in build().items():
        assert (FOLDER / name).read_bytes() == content.encode(), name


def test_the_program_says_that_nothing_is_out_of_date() -> None:
    command = [sys.executable, "-m", "quantserve.quantize.calibration.corpus", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout.endswith("Up to date\n")


@pytest.mark.parametrize("name", SETS)
def test_every_line_is_a_document(name: SetName) -> None:
    ids = set()
    for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        assert list(row)[:3] == ["id", "language", "kind"]
        assert row["id"].startswith(f"{row['language']}-{row['kind']}-")
        ids.add(row["id"])
        if "text" in row:
            assert isinstance(row["text"], str)
            assert row["text"].strip()
        else:
            roles = [message["role"] for message in row["messages"]]
            assert roles[-1] == "assistant"
            assert set(roles) <= {"system", "user", "assistant"}
            assert all(set(message) == {"role", "content"} for message in row["messages"])
            assert all(message["content"].strip() for message in row["messages"])
    assert len(ids) == len(corpus.entries(name))


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_sets_share_no_eight_words(language: str) -> None:
    calibration = eight_word_runs("calibration", language)
    evaluation = eight_word_runs("evaluation", language)
    assert len(calibration) > len(evaluation) > 1000
    assert not calibration & evaluation


@pytest.mark.parametrize(
    ("name", "language", "characters", "kinds"),
    [
        ("calibration", "en", 115_000, 16),
        ("calibration", "ko", 52_000, 15),
        ("evaluation", "en", 46_000, 16),
        ("evaluation", "ko", 20_000, 16),
    ],
)
def test_each_set_is_large_and_varied(name: SetName, language: str, characters: int, kinds: int) -> None:
    entries = [entry for entry in corpus.entries(name) if entry.language == language]
    written = sum(len(json.dumps(entry.document, ensure_ascii=False)) for entry in entries)
    assert written >= characters
    assert len({entry.kind for entry in entries}) >= kinds


def test_documents_are_chosen_by_language() -> None:
    english, korean = corpus.calibration_documents("en"), corpus.calibration_documents("ko")
    assert corpus.calibration_documents() == english + korean
    assert corpus.evaluation_documents("ko")[0] not in korean
    assert any(isinstance(document, str) for document in korean)
    assert any(isinstance(document, list) for document in korean)


def test_the_readme_counts_what_ships() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    totals = re.findall(r"\| (en|ko) \| \*\*all\*\* \| (\d+) \|", readme)
    shipped = [len(corpus.calibration_documents("en")), len(corpus.calibration_documents("ko"))]
    shipped += [len(corpus.evaluation_documents("en")), len(corpus.evaluation_documents("ko"))]
    assert totals == [(language, str(n)) for language, n in zip(["en", "ko"] * 2, shipped, strict=True)]
