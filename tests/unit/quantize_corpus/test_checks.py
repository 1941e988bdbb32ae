"""The generator refuses sources that are misshapen, in the wrong language, or overlap."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantserve.core.errors import InputError
from quantserve.quantize.calibration.corpus.__main__ import (
    CorpusSource,
    build,
    faults,
    overlaps,
    read_set,
    shingles,
)

ENGLISH = "A plain English sentence that is long enough to be taken for a document of the set."


def source(text: str, *, name: str = "en-prose-a", language: str = "en", kind: str = "prose") -> CorpusSource:
    return CorpusSource(name, language, kind, ((None, text),))


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return folder


def test_shingles_ignore_case_punctuation_and_width() -> None:
    one = shingles("One, two; THREE four – five six. Seven eight nine")
    other = shingles("one two three four five six seven ｅｉｇｈｔ nine")
    assert one == other
    assert len(one) == 2


def test_eight_common_words_are_an_overlap_and_seven_are_not() -> None:
    here = source("we met at noon by the old stone bridge", name="en-prose-a")
    eight = source("he said we met at noon by the old stone wall", name="en-prose-b")
    seven = source("he said we met at noon by the old barn", name="en-prose-c")
    assert overlaps([here], [eight]) == ["en-prose-a and en-prose-b share: we met at noon by the old stone"]
    assert overlaps([here], [seven]) == []


def test_a_document_does_not_overlap_itself() -> None:
    here = source(ENGLISH)
    assert overlaps([here], [here]) == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (source("Too short."), "too short"),
        (source(ENGLISH + "\ttab"), "has a tab"),
        (source(ENGLISH + " \nnext"), "space at a line's end"),
        (source(ENGLISH + " 한국어"), "not in the language"),
        (source(ENGLISH, language="ko"), "not in the language"),
        (source(ENGLISH + " cafe\u0301"), "normal form C"),
    ],
)
def test_faults_are_named(fault: CorpusSource, said: str) -> None:
    (line,) = faults([fault])
    assert line.startswith("en-prose-a")
    assert said in line


def test_a_sound_document_has_no_fault() -> None:
    assert faults([source(ENGLISH), source(ENGLISH + " 한국어", name="en-code-a", kind="code")]) == []


def test_the_same_name_twice_is_a_fault() -> None:
    assert faults([source(ENGLISH), source(ENGLISH)]) == ["en-prose-a occurs 2 times"]


def test_plain_and_chat_sources_are_read(tmp_path: Path) -> None:
    write(tmp_path, "en/prose-2.md", "%%% first\nOne.\n\nTwo.\n\n%%% second\nThree.\n")
    write(tmp_path, "ko/support.chat.md", "%%% hi\n%% system\n짧게.\n%% user\n안녕?\n%% assistant\n네.\n")
    first, second, chat = read_set(tmp_path)
    assert first.row() == {"id": "en-prose-first", "language": "en", "kind": "prose", "text": "One.\n\nTwo."}
    assert second.text == "Three."
    assert chat.row()["messages"] == [
        {"role": "system", "content": "짧게."},
        {"role": "user", "content": "안녕?"},
        {"role": "assistant", "content": "네."},
    ]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("en/notes.txt", "%%% a\ntext\n", "not named"),
        ("en/prose.md", "text before\n%%% a\ntext\n", "does not begin"),
        ("en/prose.md", "%%% Not A Slug\ntext\n", "not a slug"),
        ("en/talk.chat.md", "%%% a\n%% user\nhello\n", "by turns"),
        ("en/talk.chat.md", "%%% a\n%% assistant\nhello\n%% user\nhi\n", "by turns"),
    ],
)
def test_a_misshapen_source_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_set(write(tmp_path, name, text))


def test_no_sources_is_an_error_that_says_the_mend(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="in a checkout of the repository"):
        read_set(tmp_path)


def test_a_passage_in_both_sets_stops_the_build(tmp_path: Path) -> None:
    write(tmp_path, "sources/calibration/en/prose.md", f"%%% one\n{ENGLISH}\n")
    write(tmp_path, "sources/evaluation/en/prose.md", f"%%% two\nNew words, and then: {ENGLISH.lower()}\n")
    with pytest.raises(InputError, match="across the sets: en-prose-one and en-prose-two share: a plain"):
        build(tmp_path)
