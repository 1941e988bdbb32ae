"""The question set: its form, and what must be true of it.

`python -m samples.questions` prints the counts and every fault, and exits 1 when there is one.
A question's `evidence` is an exact piece of its document (runs of white space count as one space), so the
right passage can be found again whatever the splitter's settings are.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from bm25s.stopwords import STOPWORDS_EN_PLUS
from kiwipiepy import Kiwi
from pydantic import BaseModel, ConfigDict

from samples.build import DOCUMENTS, HERE
from samples.text import headings, language, page_count, pages, squeeze

FILE = HERE / "questions.jsonl"
LEAST = {"questions": 120, "unanswerable": 12, "off-topic": 12, "cross-lingual": 15}
LEAST_PAGES = 60
PARAPHRASE_SHARE_MAX = 1 / 3  # of the question's content words, how many may stand in the evidence
VERBATIM_SHARE_MIN = 1 / 2
_CONTENT_TAGS = ("NNG", "NNP", "VV", "VA", "SL", "SN", "XR")


class Passage(BaseModel):
    """A further passage that answers as well, so that finding it is no mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    page: int | None
    evidence: str


class Question(BaseModel):
    """One line of the question file. An unanswerable or off-topic one has no place, answer or evidence."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    question: str
    language: Literal["ko", "en"]
    kind: Literal["verbatim", "paraphrase", "unanswerable", "off-topic"]
    file: str | None
    page: int | None
    heading: str | None
    answer: str | None
    evidence: str | None
    also: tuple[Passage, ...]


@dataclass(frozen=True)
class Place:
    """Where a piece of text stands: file name and page (from 1; whole files are one page)."""

    file: str
    page: int


def load(path: Path = FILE) -> list[Question]:
    """Read a question file."""
    return [Question.model_validate_json(line) for line in path.read_text(encoding="utf-8").splitlines()]


@cache
def corpus(folder: Path = DOCUMENTS) -> dict[Place, str]:
    """Every page of every document, squeezed."""
    return {
        Place(path.name, number): squeeze(text)
        for path in sorted(folder.iterdir())
        for number, text in enumerate(pages(path), start=1)
    }


def places(evidence: str) -> list[Place]:
    """Every page on which the evidence stands."""
    return [place for place, text in corpus().items() if squeeze(evidence) in text]


def shared_words(question: str, evidence: str) -> float:
    """The part of the question's content words that stand in the evidence too, 0 to 1."""
    asked, told = content_words(question), content_words(evidence)
    return len(asked & told) / len(asked) if asked else 0.0


def content_words(text: str) -> frozenset[str]:
    """Korean nouns, verbs and adjectives by stem; other words and numbers in lower case, roughly stemmed."""
    found = [token.form for token in _kiwi().tokenize(text) if token.tag.split("-")[0] in _CONTENT_TAGS]
    return frozenset(_stem(word.lower()) for word in found if word.lower() not in STOPWORDS_EN_PLUS)


@cache
def _kiwi() -> Kiwi:
    return Kiwi()


def _stem(word: str) -> str:
    return re.sub(r"(?<=[a-z]{3})(ing|ed|es|s)$", "", word)


def faults(questions: list[Question]) -> list[str]:
    """Everything that is wrong with the set, one line each."""
    found = [f"id {name} stands twice" for name, n in Counter(q.id for q in questions).items() if n > 1]
    found += [f"asked twice: {text}" for text, n in Counter(q.question for q in questions).items() if n > 1]
    for question in questions:
        found += [f"{question.id}: {fault}" for fault in _faults_of(question)]
    counted = counts(questions)
    found += [
        f"{name}: {counted[name]}, at least {least} wanted"
        for name, least in LEAST.items()
        if counted[name] < least
    ]
    if corpus_pages() < LEAST_PAGES:
        found.append(f"{corpus_pages():.1f} pages, at least {LEAST_PAGES} wanted")
    if counted["paraphrase"] * 2 < counted["questions"]:
        found.append("fewer than half of the questions are paraphrased")
    return found


def _faults_of(question: Question) -> list[str]:
    if question.kind in ("unanswerable", "off-topic"):
        given = question.model_dump(include={"file", "page", "heading", "answer", "evidence", "also"})
        return [f"{question.kind}, yet it names a place or an answer"] if any(given.values()) else []
    if not (question.file and question.answer and question.evidence):
        return ["a file, an answer and evidence are needed"]
    found = []
    if language(question.question) != question.language:
        found.append("the language is not the question's")
    found += _place_faults(question.file, question.page, question.evidence)
    for passage in question.also:
        found += _place_faults(passage.file, passage.page, passage.evidence)
    known = headings(DOCUMENTS / question.file)
    if bool(known) != (question.heading is not None) or (known and question.heading not in known):
        found.append(f"no heading {question.heading!r} in the file")
    share = shared_words(question.question, question.evidence)
    if question.kind == "paraphrase" and share > PARAPHRASE_SHARE_MAX:
        words = content_words(question.question) & content_words(question.evidence)
        found.append(f"paraphrase, yet {share:.0%} of its words stand in the evidence: {sorted(words)}")
    if question.kind == "verbatim" and share < VERBATIM_SHARE_MIN:
        found.append(f"verbatim, yet only {share:.0%} of its words stand in the evidence")
    return found


def _place_faults(file: str, page: int | None, evidence: str) -> list[str]:
    found = []
    if (here := places(evidence)) != [Place(file, page or 1)]:
        found.append(f"the evidence {evidence!r} stands at {here}")
    if (page is not None) != file.endswith(".pdf"):
        found.append("a page belongs to PDF files, and to them alone")
    return found


def counts(questions: list[Question]) -> Counter[str]:
    """Questions in all, by kind, by language and across languages."""
    documents = {place.file: language(text) for place, text in corpus().items()}
    found = Counter[str](questions=len(questions))
    for question in questions:
        found[question.kind] += 1
        found[question.language] += 1
        found["cross-lingual"] += documents.get(question.file or "", question.language) != question.language
    return found


def corpus_pages() -> float:
    """The size of all documents, in pages."""
    return sum(page_count(path) for path in DOCUMENTS.iterdir())


def main() -> None:
    """Print the faults and the counts."""
    questions = load()
    found = faults(questions)
    for fault in found:
        print(fault, file=sys.stderr)
    print(
        json.dumps(
            {**counts(questions), "pages": round(corpus_pages(), 1), "faults": len(found)}, ensure_ascii=False
        )
    )
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
