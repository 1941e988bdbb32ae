from __future__ import annotations

import json
from pathlib import Path

import pytest

from quantize.artifact import Calibration
from quantize.calibration import builtin
from quantize.gate.errors import EvaluationOverlap, GateError
from quantize.gate.evaluation import Evaluation, cut_passages, overlap_checked, refuse_overlap, shingles

WORDS = [f"word{i}" for i in range(400)]


def test_passages_are_spread_evenly_and_cut_at_words() -> None:
    text = "aaaa bbbb cccc dddd eeee ffff gggg hhhh "

    assert cut_passages(text, 2, 14) == ("aaaa bbbb", "eeee ffff")


def test_a_passage_that_begins_inside_a_word_drops_the_word() -> None:
    assert cut_passages("aaaaaa bbbbbb cccccc dddddd ", 2, 13)[1] == "cccccc"
    assert cut_passages("aaaaaaa bbbbbbb ccccccc ddddddd", 2, 14)[1] == "ccccccc"


def test_too_little_text_is_refused() -> None:
    with pytest.raises(GateError, match="100 of evaluation text, there are 12"):
        cut_passages("twelve chars", 10, 10)


def test_every_run_of_words_is_a_shingle() -> None:
    assert len(shingles("a b c d", 3)) == 2
    assert shingles("A  b\nC", 3) == shingles("a b c", 3)
    assert shingles("", 3) == frozenset()


def test_fifty_shared_words_are_an_overlap_and_forty_nine_are_not() -> None:
    evaluation = Evaluation("test", (" ".join(WORDS[:120]),))

    refuse_overlap(evaluation, " ".join([*WORDS[300:], *WORDS[30:79], *WORDS[200:300]]))
    with pytest.raises(EvaluationOverlap, match="occurs in the calibration text"):
        refuse_overlap(evaluation, " ".join([*WORDS[300:], *WORDS[30:80], *WORDS[200:300]]))


def record(source: object) -> Calibration:
    return Calibration(source=str(source), sha256="0", tokens=1, sequences=1)


def test_the_built_in_texts_are_held_out_from_each_other() -> None:
    evaluation = Evaluation(builtin.SOURCE, cut_passages(builtin.evaluation_text(), 24, 800))

    assert overlap_checked(evaluation, record(builtin.SOURCE)) is True


@pytest.mark.parametrize("escaped", [True, False])
def test_chat_messages_that_hold_the_evaluation_text_are_found(tmp_path: Path, escaped: bool) -> None:
    words = [f"낱말{i}" for i in range(200)]
    chat = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "\n".join(words)}]
    text = json.dumps({"messages": chat}, ensure_ascii=escaped) + "\n\n" + json.dumps({"text": "other"})
    (tmp_path / "mine.jsonl").write_text(text, encoding="utf-8")

    for source in (tmp_path, tmp_path / "mine.jsonl"):
        with pytest.raises(EvaluationOverlap):
            overlap_checked(Evaluation("test", (" ".join(words[100:200]),)), record(source))


def test_other_text_is_checked_and_found_apart(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text(" ".join(WORDS[200:]), encoding="utf-8")

    assert (
        overlap_checked(Evaluation("test", (" ".join(WORDS[:200]),)), record(tmp_path / "mine.txt")) is True
    )


def test_a_calibration_that_cannot_be_read_again_is_unknown(tmp_path: Path) -> None:
    evaluation = Evaluation("test", ("some words",))

    unknown = [None, record(tmp_path / "gone.txt"), record("allenai/c4")]

    assert [overlap_checked(evaluation, one) for one in unknown] == [False] * 3
