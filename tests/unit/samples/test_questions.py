"""The question set holds what it promises, and its checker finds what is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from samples.build import HERE
from samples.questions import Question, content_words, corpus_pages, counts, faults, load, shared_words

GOOD = Question(
    id="good",
    question="심야에 야근하면 어떤 대가를 받나요?",
    language="ko",
    kind="paraphrase",
    file="company-handbook.pdf",
    page=1,
    heading=None,
    answer="1.5배의 보상 휴가",
    evidence="밤 10시 이후에 일한 시간은 1.5배로 쳐서 보상 휴가로 돌려준다.",
    also=(),
)


def _faults_of(question: Question) -> list[str]:
    return [fault for fault in faults([question]) if fault.startswith(f"{question.id}: ")]


def test_the_shipped_set_has_no_fault() -> None:
    assert faults(load()) == []


def test_the_shipped_set_is_large_and_mixed() -> None:
    counted = counts(load())
    assert counted["questions"] >= 120
    assert corpus_pages() >= 60
    assert counted["unanswerable"] >= 12
    assert counted["cross-lingual"] >= 15
    assert counted["paraphrase"] >= counted["questions"] / 2
    assert min(counted["ko"], counted["en"]) >= 50


def test_a_good_question_has_no_fault() -> None:
    assert _faults_of(GOOD) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"page": 2}, "stands at [Place(file='company-handbook.pdf', page=1)]"),
        ({"page": None}, "a page belongs to PDF files"),
        ({"file": "faq.html", "page": None}, "stands at [Place(file='company-handbook.pdf', page=1)]"),
        ({"evidence": "밤 10시 이후에 일한 시간은 두 배로 쳐서"}, "stands at []"),
        ({"heading": "제3조 연장 근무"}, "no heading"),
        ({"answer": None}, "a file, an answer and evidence are needed"),
        ({"language": "en"}, "the language is not the question's"),
        ({"question": "밤 10시 이후에 일한 시간은 몇 배로 쳐서 돌려주나요?"}, "paraphrase, yet"),
        ({"kind": "verbatim"}, "verbatim, yet only"),
        ({"kind": "unanswerable"}, "unanswerable, yet it names a place"),
        (
            {"also": ({"file": "faq.html", "page": None, "evidence": "어디에도 없는 글"},)},
            "'어디에도 없는 글' stands at []",
        ),
    ],
)
def test_the_checker_finds(change: dict[str, object], fault: str) -> None:
    question = Question.model_validate({**GOOD.model_dump(), **change})
    assert any(fault in found for found in _faults_of(question)), _faults_of(question)


def test_the_checker_finds_doubles_and_a_small_set() -> None:
    found = faults([GOOD, GOOD])
    assert "id good stands twice" in found
    assert f"asked twice: {GOOD.question}" in found
    assert "questions: 2, at least 120 wanted" in found
    assert "unanswerable: 0, at least 12 wanted" in found


def test_an_unknown_field_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(GOOD.model_dump_json().replace('{"id"', '{"extra": 1, "id"') + "\n")
    with pytest.raises(ValueError, match="extra"):
        load(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("휴가를 며칠 쓰나요?", {"휴가", "며칠", "쓰"}),
        ("How are the keys rotated?", {"key", "rotat"}),
        ("GPU 서버의 벌칙은?", {"gpu", "서버", "벌칙"}),
    ],
)
def test_content_words_are_stems_without_particles(text: str, words: set[str]) -> None:
    assert content_words(text) == words


def test_shared_words_is_a_part_of_the_question() -> None:
    assert shared_words(
        "secret keys expire", "Keys expire after 180 days, whatever they open."
    ) == pytest.approx(2 / 3)


def test_the_readme_shows_questions_of_the_set() -> None:
    """Each example row `| question | file, page | answer |` is in the set, with that file and page."""
    known = {question.question: question for question in load()}
    rows = re.findall(
        r"^\| (.+?) \| `(.+?)`(?: p\. (\d+))? \|", (HERE / "README.md").read_text(encoding="utf-8"), re.M
    )
    assert 8 <= len(rows) <= 10
    for text, file, page in rows:
        assert (known[text].file, known[text].page) == (file, int(page) if page else None)
