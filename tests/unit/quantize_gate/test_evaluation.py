from __future__ import annotations

import json
from pathlib import Path

import pytest

from quantize.artifact import Calibration
from quantize.calibration import builtin, sources
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


def test_the_built_in_texts_are_held_out_from_each_other() -> None:
    evaluation = Evaluation(builtin.SOURCE, cut_passages(builtin.evaluation_text(), 24, 800))
    text = sources.load(None)
    record = Calibration(source=text.source, sha256=text.sha256, tokens=1, sequences=1)

    assert overlap_checked(evaluation, record) is True


def test_a_calibration_file_that_holds_the_evaluation_text_is_found(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    chat = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": " ".join(WORDS)}]
    path.write_text(json.dumps({"messages": chat}), encoding="utf-8")
    text = sources.load(path)
    record = Calibration(source=text.source, sha256=text.sha256, tokens=1, sequences=1)

    with pytest.raises(EvaluationOverlap):
        overlap_checked(Evaluation("test", (" ".join(WORDS[100:200]),)), record)


def test_a_calibration_that_cannot_be_read_again_is_unknown(tmp_path: Path) -> None:
    evaluation = Evaluation("test", ("some words",))
    moved = Calibration(source=str(tmp_path / "gone.txt"), sha256="0", tokens=1, sequences=1)
    path = tmp_path / "changed.txt"
    path.write_text("other text", encoding="utf-8")
    changed = Calibration(source=str(path), sha256="0", tokens=1, sequences=1)

    assert [overlap_checked(evaluation, record) for record in (None, moved, changed)] == [False] * 3
