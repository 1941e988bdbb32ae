"""Cached answers to close questions: served where a judge that has proved itself confirms, and only there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quantserve.rag.answer import Answerer
from quantserve.rag.config import CacheConfig
from tests.integration.rag.answering.bench import BULBS, Bench, judging
from tests.integration.rag.test_rerank import tiny_cross_encoder

PARAPHRASE = "Where do you keep the spare bulbs?"
NEAR_MISS = "Where are the spare bulbs not kept?"
YES_TO_ALL = (("Question 1: ", '{"same_answer": "yes"}'),)


def semantic(bench: Bench, mode: str = "auto", **settings: Any) -> Answerer:
    return bench.answerer(mode=mode, cache=CacheConfig(path=bench.cache_file, semantic=True, **settings))


def test_a_confirmed_paraphrase_is_served_and_a_near_miss_is_not(bench: Bench) -> None:
    bench.server.change(answers=judging((BULBS, PARAPHRASE)))
    answerer = semantic(bench)
    first = answerer.answer(BULBS)
    missed, served = answerer.answer(NEAR_MISS), answerer.answer(PARAPHRASE)
    assert (missed.cached, missed.judged) == ("", ("rejected",))
    assert (served.cached, served.judged[-1], served.question) == ("semantic", "confirmed", PARAPHRASE)
    assert (served.text, served.passages) == (first.text, first.passages)
    assert bench.asked - bench.verdicts == 2


def test_switched_off_as_it_is_by_default_no_paraphrase_is_served_and_nobody_asked(bench: Bench) -> None:
    bench.server.change(answers=YES_TO_ALL)
    answerer = bench.answerer()
    answerer.answer(BULBS)
    assert (answerer.answer(PARAPHRASE).cached, bench.verdicts) == ("", 0)


def test_a_model_that_says_yes_to_everything_is_refused(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.server.change(answers=YES_TO_ALL)
    answerer = semantic(bench)
    answerer.answer(BULBS)
    assert [answerer.answer(each).judged for each in (NEAR_MISS, PARAPHRASE)] == [("refused",)] * 2
    assert (
        caplog.text.count("stays off: Qwen-test took 8 of 8 pairs of different questions for the same") == 1
    )


def test_a_model_that_says_nothing_clear_is_refused(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    answerer = semantic(bench)  # it says CELLAR to everything
    answerer.answer(BULBS)
    assert answerer.answer(PARAPHRASE).judged == ("refused",)
    assert "none of 24 true paraphrases, 84 answers were neither yes nor no" in caplog.text


def test_another_model_is_tried_anew(bench: Bench) -> None:
    bench.server.change(answers=judging((BULBS, PARAPHRASE)), root="/artifacts/model/w4-1")
    semantic(bench).answer(BULBS)
    assert semantic(bench).answer(PARAPHRASE).cached == "semantic"
    bench.server.change(answers=YES_TO_ALL, root="/artifacts/model/w4-2")
    semantic(bench).answer(BULBS)
    assert semantic(bench).answer(PARAPHRASE).judged == ("refused",)


def test_when_the_judge_fails_the_question_is_answered_without_it(bench: Bench) -> None:
    bench.server.change(answers=judging())
    answerer = semantic(bench)
    answerer.answer(BULBS)
    assert answerer.answer(NEAR_MISS).judged == ("rejected",)
    bench.server.change(statuses=(200,) * bench.asked + (503,))
    answer = answerer.answer(PARAPHRASE)
    assert (answer.mode, answer.cached, answer.judged) == ("generate", "", ("unavailable",))
    assert bench.server.chats[-2].body["response_format"]["type"] == "json_schema"


def test_a_translation_is_not_even_proposed(bench: Bench) -> None:
    bench.server.change(answers=YES_TO_ALL)
    answerer = semantic(bench, max_false_hits=1.0, min_similarity=-1.0)
    korean = answerer.answer("입사 3년 차 직원의 연차는 며칠인가요?")
    assert (korean.language, korean.mode) == ("ko", "extract")
    answer = answerer.answer(BULBS)
    assert (answer.language, answer.cached, answer.judged) == ("en", "", ())


def test_in_a_conversation_only_the_very_question_counts(bench: Bench) -> None:
    bench.server.change(answers=YES_TO_ALL)
    answerer = semantic(bench, max_false_hits=1.0)
    answerer.answer(BULBS)
    history = [{"role": "user", "content": "Is it dark?"}, {"role": "assistant", "content": "Yes."}]
    answer = answerer.answer(PARAPHRASE, history=history)
    assert (answer.cached, answer.judged, bench.verdicts) == ("", (), 0)


def test_an_answer_from_within_a_conversation_is_not_proposed_outside(bench: Bench) -> None:
    bench.server.change(answers=YES_TO_ALL)
    answerer = semantic(bench, max_false_hits=1.0)
    answerer.answer(BULBS, history=[{"role": "user", "content": "Is it dark?"}])
    assert answerer.answer(PARAPHRASE).judged == ()


def test_that_nothing_was_found_is_not_told_to_other_words(bench: Bench) -> None:
    bench.server.change(answers=YES_TO_ALL, answer="I do not know.")
    answerer = semantic(bench, max_false_hits=1.0)
    assert answerer.answer(BULBS).mode == "unknown"
    assert answerer.answer(PARAPHRASE).judged == ()


def test_where_answers_are_quoted_the_served_model_does_not_judge(bench: Bench) -> None:
    answerer = semantic(bench, mode="extract")
    answerer.answer(BULBS)
    assert (answerer.answer(PARAPHRASE).cached, bench.asked) == ("", 0)


@pytest.mark.parametrize(
    ("least", "why"),
    [(0.9, "confirmed none of 24"), (0.0, "took 8 of 8 pairs of different questions for the same")],
    ids=["confirms nothing", "confirms everything"],
)
def test_a_cross_encoder_judges_and_is_held_to_the_same(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture, least: float, why: str
) -> None:
    judge = str(tiny_cross_encoder(tmp_path / "random"))
    answerer = semantic(bench, mode="extract", judge=judge, judge_min_score=least)
    answerer.answer(BULBS)
    assert answerer.answer(PARAPHRASE).judged == ("refused",)
    assert f"{judge} {why}" in caplog.text
    assert bench.asked == 0


def test_a_cross_encoder_that_is_not_there_costs_the_semantic_cache_only(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answerer = semantic(bench, judge=str(tmp_path))
    answerer.answer(BULBS)
    answer = answerer.answer(PARAPHRASE)
    assert (answer.mode, answer.judged) == ("generate", ("refused",))
    assert "stays off: the cross-encoder" in caplog.text
    assert "--cache-judge" in caplog.text
