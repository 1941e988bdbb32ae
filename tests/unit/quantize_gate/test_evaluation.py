from __future__ import annotations

import json
from pathlib import Path

import pytest

from quantserve.quantize.artifact import CalibrationRecord
from quantserve.quantize.calibration.corpus import CorpusEntry
from quantserve.quantize.calibration.overlap import EvaluationOverlap
from quantserve.quantize.gate.evaluation import (
    EvaluationText,
    Extract,
    bundled_evaluation,
    choose_extracts,
    overlap_checked,
)
from quantserve.quantize.gate.measure.config import Measurement

WORDS = [f"word{i}" for i in range(400)]
ENTRIES = [
    *(CorpusEntry(f"en-{i}", "en", "essays", f"{i} " + "letters " * 200) for i in range(10)),
    *(CorpusEntry(f"ko-{i}", "ko", "news", f"{i} " + "글자 " * 300) for i in range(6)),
]
PLAN = Measurement(passages=4, reported_passages=2, max_passage_tokens=300, max_reported_tokens=100)


def chosen(readable: tuple[str, ...]) -> list[tuple[str, bool, int]]:
    return [(x.document, x.judged, x.max_tokens) for x in choose_extracts(ENTRIES, readable, PLAN).extracts]


def test_a_language_the_model_does_not_read_is_measured_briefly_and_not_judged() -> None:
    assert chosen(("en",)) == [
        *(("en-0", True, 300), ("en-2", True, 300), ("en-5", True, 300), ("en-7", True, 300)),
        *(("ko-0", False, 100), ("ko-3", False, 100)),
    ]


@pytest.mark.parametrize("readable", [("en", "ko"), ()])
def test_languages_that_are_read_share_the_passages(readable: tuple[str, ...]) -> None:
    assert [document for document, judged, _ in chosen(readable) if judged] == [
        *("en-0", "en-5"),
        *("ko-0", "ko-3"),
    ]


def test_long_documents_are_cut_by_language() -> None:
    lengths = {x.language: len(x.text) for x in choose_extracts(ENTRIES, (), PLAN).extracts}

    assert lengths["en"] <= 700
    assert lengths["ko"] <= 400


def test_judged_languages_come_first() -> None:
    evaluation = choose_extracts(ENTRIES, ("ko",), PLAN)

    assert (evaluation.languages, evaluation.judged) == (("ko", "en"), ("ko",))


def test_another_judgement_is_another_evaluation() -> None:
    assert choose_extracts(ENTRIES, ("en",), PLAN).sha256 != choose_extracts(ENTRIES, (), PLAN).sha256


def test_the_bundled_set_gives_as_many_passages_as_are_asked_for() -> None:
    english = bundled_evaluation(("en",), Measurement())
    both = bundled_evaluation(("en", "ko"), Measurement())

    assert [sum(x.judged for x in e.extracts) for e in (english, both)] == [28, 28]
    assert len(english.extracts) == 34


def evaluation(text: str) -> EvaluationText:
    return EvaluationText("test", (Extract("one", "en", text, True, 300),))


def record(source: object) -> CalibrationRecord:
    return CalibrationRecord(source=str(source), sha256="0", tokens=1, sequences=1)


@pytest.mark.parametrize("source", ["corpus", "pydoc"])
def test_the_bundled_texts_are_held_out_from_each_other(source: str) -> None:
    held_out = bundled_evaluation((), Measurement(passages=1000))

    assert overlap_checked(held_out, record(source)) is True


@pytest.mark.parametrize("escaped", [True, False])
def test_chat_messages_that_hold_the_evaluation_text_are_found(tmp_path: Path, escaped: bool) -> None:
    words = [f"낱말{i}" for i in range(200)]
    chat = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "\n".join(words)}]
    text = json.dumps({"messages": chat}, ensure_ascii=escaped) + "\n\n" + json.dumps({"text": "other"})
    (tmp_path / "mine.jsonl").write_text(text, encoding="utf-8")

    for source in (tmp_path, tmp_path / "mine.jsonl"):
        with pytest.raises(EvaluationOverlap):
            overlap_checked(evaluation(" ".join(words[100:200])), record(source))


def test_other_text_is_checked_and_found_apart(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text(" ".join(WORDS[200:]), encoding="utf-8")

    assert overlap_checked(evaluation(" ".join(WORDS[:200])), record(tmp_path / "mine.txt")) is True


def test_a_calibration_that_cannot_be_read_again_is_unknown(tmp_path: Path) -> None:
    unknown = [None, record(tmp_path / "gone.txt"), record("allenai/c4")]

    assert [overlap_checked(evaluation("some words"), one) for one in unknown] == [False] * 3
