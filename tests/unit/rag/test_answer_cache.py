"""Cached answers: to which question they are served, for whom, how long and how many."""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantserve.rag.cache import AnswerCache, Scope
from quantserve.rag.cache.answers import Outcome, SemanticLookup, exact_form, question_key
from quantserve.rag.cache.calibration import calibration_pairs
from quantserve.rag.config import CacheConfig
from quantserve.rag.errors import JudgeFailed, JudgeUnclear, JudgeUnusable
from quantserve.rag.llm import Cancellation

SCOPE = Scope("index-1", "model-1", "ko", 3, {"top_k": 4})
AXES = np.eye(4, dtype=np.float32)
Open = Callable[..., AnswerCache]


class KnowingJudge:
    """Confirms the pairs it is told, in either order; raises what it is told."""

    name = "knowing"

    def __init__(self, *same: tuple[str, str], identity: str = "knowing-1") -> None:
        self.identity = identity
        self.same = {frozenset(pair) for pair in same}
        self.same |= {frozenset((pair.one, pair.other)) for pair in calibration_pairs() if pair.same}
        self.failure: JudgeFailed | None = None
        self.asked: list[tuple[str, str]] = []

    def confirms(self, one: str, other: str, cancellation: Cancellation) -> bool:
        self.asked.append((one, other))
        if self.failure is not None:
            raise self.failure
        return frozenset((one, other)) in self.same


class AlwaysJudge(KnowingJudge):
    """Says the same to everything, as a model does that cannot judge."""

    def __init__(self, verdict: bool, identity: str = "always") -> None:
        super().__init__(identity=identity)
        self.verdict = verdict

    def confirms(self, one: str, other: str, cancellation: Cancellation) -> bool:
        super().confirms(one, other, cancellation)
        return self.verdict


CACHED, PARAPHRASE, NEAR_MISS = (
    "키는 90일 뒤에 만료되나요?",
    "90일이 지나면 키가 만료되나요?",
    "키는 180일 뒤에 만료되나요?",
)


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    def make(**settings: Any) -> AnswerCache:
        return AnswerCache(tmp_path / "cache" / "answers.db", CacheConfig(**{"semantic": True, **settings}))

    return make


def test_the_same_question_is_found_after_a_restart(opened: Open) -> None:
    opened().put(SCOPE, "연차는 며칠인가요?", {"text": "17일"}, AXES[0])
    cache = opened()
    assert cache.exact(SCOPE, " 연차는  며칠인가요 ") == {"text": "17일"}
    assert cache.exact(SCOPE, "연차는 며칠인가요?", context="a conversation") is None
    assert (cache.stats.exact, cache.stats.entries) == (1, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"index": "index-2"},
        {"model": "model-2"},
        {"language": "en"},
        {"prompt_version": 4},
        {"settings": {"top_k": 5}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_scope_finds_nothing(opened: Open, change: dict[str, Any]) -> None:
    cache = opened()
    cache.put(SCOPE, "Why?", {"text": "So."}, AXES[0])
    other = dataclasses.replace(SCOPE, **change)
    assert cache.exact(other, "Why?") is None
    assert cache.semantic(other, "Why so?", AXES[0], KnowingJudge(("Why so?", "Why?"))).answer is None


SAME = (
    ("Where is the log?", "  Where is\u00a0 the\nlog? "),
    ("Where is the log?", "where is the log"),
    ("Where is the log?", "Where is the log ?"),
    ("Where is the log?", "Where is the log？"),
    ("Name the port.", "Name the port"),
    ("What does RAG do?", "What does ＲＡＧ do?"),
    ("로그는 어디에 있나요?", unicodedata.normalize("NFD", "로그는 어디에 있나요?")),
    ("로그는 어디에 있나요。", "로그는 어디에 있나요"),
)
OTHER = (
    ("Who leads IT in Seoul?", "Who leads it in Seoul?"),
    ("IT leads whom?", "It leads whom?"),
    ("What does US law ask of us?", "What does us law ask of US?"),
    ("How long do 10 Mb take?", "How long do 10 MB take?"),
    ("How much is 5!?", "How much is 5?"),
    ("What matches a??", "What matches a?"),
    ("What is in cd ..?", "What is in cd?"),
    ("What is 10²?", "What is 102?"),
    ("Is ½ enough?", "Is 1⁄2 enough?"),
    ("What is C?", "What is C#?"),
    ("What is +5?", "What is -5?"),
    ("아버지가 방에 있나요?", "아버지 가방에 있나요?"),
    ("", "?"),
)


@pytest.mark.parametrize(("one", "other"), SAME, ids=repr)
def test_dress_is_no_part_of_a_question(one: str, other: str) -> None:
    assert question_key(one) == question_key(other)


@pytest.mark.parametrize(("one", "other"), OTHER, ids=repr)
def test_whatever_can_change_the_meaning_is(one: str, other: str) -> None:
    assert question_key(one) != question_key(other)


@given(st.text(min_size=1, max_size=12), st.text(max_size=12), st.text(max_size=12))
def test_a_context_is_never_taken_for_part_of_a_question(context: str, one: str, other: str) -> None:
    assert question_key(one, context) != question_key(other)


@given(st.text(alphabet="abAB가나1! ?.", max_size=12))
def test_the_exact_form_keeps_letters_digits_and_marks_within(text: str) -> None:
    form = exact_form(text)
    assert exact_form(form.replace("?", "? ") + "x") == exact_form(form.replace("?", "? ") + "x?")
    kept = [c for c in text if c.isalnum() or c == "!"]
    assert [c.lower() for c in form if c.isalnum() or c == "!"] == [c.lower() for c in kept]
    assert sum(c.isupper() for c in kept) - sum(c.isupper() for c in form) in (0, 1)


def test_a_close_question_gets_the_cached_answer_only_where_the_judge_confirms(opened: Open) -> None:
    cache, judge = opened(), KnowingJudge((CACHED, PARAPHRASE))
    cache.put(SCOPE, CACHED, {"text": "네"}, AXES[0])
    assert cache.semantic(SCOPE, NEAR_MISS, AXES[0], judge) == SemanticLookup(None, ("rejected",))
    assert cache.semantic(SCOPE, PARAPHRASE, AXES[0], judge) == SemanticLookup({"text": "네"}, ("confirmed",))
    assert cache.semantic(SCOPE, PARAPHRASE, AXES[1], judge) == SemanticLookup()  # too far to be asked about
    assert (cache.stats.semantic, cache.stats.rejected) == (1, 1)


def test_switched_off_nobody_is_asked(opened: Open) -> None:
    cache, judge = opened(semantic=False), KnowingJudge((CACHED, PARAPHRASE))
    cache.put(SCOPE, CACHED, {"text": "네"}, AXES[0])
    assert cache.semantic(SCOPE, PARAPHRASE, AXES[0], judge) == SemanticLookup()
    assert judge.asked == []


def test_the_judge_is_asked_about_the_closest_only(opened: Open) -> None:
    cache, judge = opened(candidates=2), KnowingJudge()
    for number in range(4):
        cache.put(SCOPE, f"question {number}", {"text": str(number)}, AXES[0])
    assert cache.semantic(SCOPE, "question", AXES[0], judge).outcomes == ("rejected", "rejected")


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [(JudgeUnclear("hm"), "unclear"), (JudgeFailed("away"), "unavailable")],
    ids=["unclear", "unavailable"],
)
def test_what_is_no_clear_yes_is_no_hit_and_is_counted(
    opened: Open, failure: JudgeFailed, outcome: Outcome
) -> None:
    cache, judge = opened(), KnowingJudge((CACHED, PARAPHRASE))
    cache.put(SCOPE, CACHED, {"text": "네"}, AXES[0])
    assert cache.semantic(SCOPE, NEAR_MISS, AXES[0], judge).outcomes == ("rejected",)  # believed from here
    judge.failure = failure
    assert cache.semantic(SCOPE, PARAPHRASE, AXES[0], judge) == SemanticLookup(None, (outcome,))
    assert getattr(cache.stats, outcome) == 1
    judge.failure = None
    assert cache.semantic(SCOPE, PARAPHRASE, AXES[0], judge).outcomes == ("confirmed",)


def test_a_judge_that_confirms_everything_is_refused_with_its_figure(
    opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    cache, judge = opened(), AlwaysJudge(True)
    cache.put(SCOPE, CACHED, {"text": "네"}, AXES[0])
    for _ in range(3):
        assert cache.semantic(SCOPE, PARAPHRASE, AXES[0], judge) == SemanticLookup(None, ("refused",))
    assert [record.message for record in caplog.records] == [
        "the semantic cache stays off: knowing took 8 of 8 pairs of different questions for the same "
        "(100%; at most 2% may be). Serve a more capable model, or name one: --cache-judge"
    ]
    assert cache.stats.refused == 3


def test_a_judge_that_confirms_nothing_is_refused_too(opened: Open, caplog: pytest.LogCaptureFixture) -> None:
    cache = opened()
    cache.put(SCOPE, CACHED, {"text": "네"}, AXES[0])
    assert cache.semantic(SCOPE, PARAPHRASE, AXES[0], AlwaysJudge(False)).outcomes == ("refused",)
    assert "confirmed none of 24 true paraphrases" in caplog.text


def test_the_bound_is_a_setting(opened: Open) -> None:
    cache = opened(max_false_hits=1.0)
    cache.put(SCOPE, CACHED, {"text": "네"}, AXES[0])
    assert cache.semantic(SCOPE, PARAPHRASE, AXES[0], AlwaysJudge(True)).outcomes == ("confirmed",)


def test_a_judge_is_tried_once_and_another_anew(opened: Open) -> None:
    cache, judge = opened(), KnowingJudge()
    cache.put(SCOPE, CACHED, {"text": "네"}, AXES[0])
    cache.semantic(SCOPE, NEAR_MISS, AXES[0], judge)
    assert len(judge.asked) == len(calibration_pairs()) + 1
    opened().semantic(SCOPE, NEAR_MISS, AXES[0], judge)  # another process
    assert len(judge.asked) == len(calibration_pairs()) + 2
    changed = AlwaysJudge(True, identity="another model under the same name")
    assert cache.semantic(SCOPE, NEAR_MISS, AXES[0], changed).outcomes == ("refused",)


def test_old_figures_of_a_judge_are_not_believed(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, judge = opened(max_age_s=60.0), KnowingJudge()
    cache.put(SCOPE, CACHED, {"text": "네"}, AXES[0])
    cache.semantic(SCOPE, NEAR_MISS, AXES[0], judge)
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    cache.put(SCOPE, CACHED, {"text": "네"}, AXES[0])
    opened(max_age_s=60.0).semantic(SCOPE, NEAR_MISS, AXES[0], judge)
    assert len(judge.asked) == 2 * (len(calibration_pairs()) + 1)


def test_a_trial_that_broke_off_is_made_again(opened: Open) -> None:
    cache, judge = opened(), KnowingJudge((CACHED, PARAPHRASE))
    cache.put(SCOPE, CACHED, {"text": "네"}, AXES[0])
    judge.failure = JudgeFailed("away")
    assert cache.semantic(SCOPE, PARAPHRASE, AXES[0], judge).outcomes == ("unavailable",)
    judge.failure = None
    assert cache.semantic(SCOPE, PARAPHRASE, AXES[0], judge).outcomes == ("confirmed",)


def test_a_judge_that_cannot_be_used_is_said_once(opened: Open, caplog: pytest.LogCaptureFixture) -> None:
    cache, judge = opened(), KnowingJudge()
    cache.put(SCOPE, CACHED, {"text": "네"}, AXES[0])
    judge.failure = JudgeUnusable("no such model", mend="Name another")
    for _ in range(2):
        assert cache.semantic(SCOPE, PARAPHRASE, AXES[0], judge).outcomes == ("refused",)
    assert [record.message for record in caplog.records] == [
        "the semantic cache stays off: no such model. Name another"
    ]


def test_while_a_judge_is_tried_others_do_not_wait(opened: Open) -> None:
    tried, go_on = threading.Event(), threading.Event()

    class SlowJudge(KnowingJudge):
        def confirms(self, one: str, other: str, cancellation: Cancellation) -> bool:
            tried.set()
            assert go_on.wait(60)
            return super().confirms(one, other, cancellation)

    cache, judge = opened(), SlowJudge((CACHED, PARAPHRASE))
    cache.put(SCOPE, CACHED, {"text": "네"}, AXES[0])
    first: list[SemanticLookup] = []
    thread = threading.Thread(
        target=lambda: first.append(cache.semantic(SCOPE, PARAPHRASE, AXES[0], judge)), daemon=True
    )
    thread.start()
    assert tried.wait(60)
    assert cache.semantic(SCOPE, PARAPHRASE, AXES[0], judge) == SemanticLookup(None, ("calibrating",))
    go_on.set()
    thread.join(60)
    assert first == [SemanticLookup({"text": "네"}, ("confirmed",))]


def test_another_process_sees_new_vectors(opened: Open) -> None:
    one, other = opened(), opened()
    judge = KnowingJudge(("Where is the log?", "Where are the logs?"))
    assert other.semantic(SCOPE, "Where is the log?", AXES[0], judge).answer is None
    one.put(SCOPE, "Where are the logs?", {"text": "There."}, AXES[0])
    assert other.semantic(SCOPE, "Where is the log?", AXES[0], judge).answer == {"text": "There."}


def test_old_answers_are_not_served_and_go(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = opened(max_age_s=60.0)
    cache.put(SCOPE, "Why?", {"text": "So."}, AXES[0])
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    assert cache.exact(SCOPE, "Why?") is None
    cache.put(SCOPE, "How?", {"text": "Thus."}, AXES[1])
    assert cache.stats.entries == 1


def test_the_longest_unused_give_way(opened: Open) -> None:
    cache = opened(max_entries=3)
    for number in range(3):
        cache.put(SCOPE, f"question {number}", {"text": str(number)}, AXES[0])
    assert cache.exact(SCOPE, "question 0") is not None
    cache.put(SCOPE, "question 3", {"text": "3"}, AXES[0])
    there = [number for number in range(4) if cache.exact(SCOPE, f"question {number}") is not None]
    assert there == [0, 2, 3]


def test_bytes_are_bounded(opened: Open) -> None:
    cache = opened(max_bytes=10_000)
    for number in range(20):
        cache.put(SCOPE, f"question {number}", {"text": "x" * 2_000}, AXES[0])
    assert (cache.stats.entries, cache.stats.bytes <= 10_000) == (4, True)
    cache.put(SCOPE, "too big", {"text": "x" * 20_000}, AXES[0])
    assert cache.exact(SCOPE, "too big") is None
    assert cache.stats.entries == 4


def test_a_damaged_file_is_made_anew(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "answers.db").write_bytes(b"this is no database, but it is long enough" * 100)
    cache = opened()
    cache.put(SCOPE, "Why?", {"text": "So."}, None)
    assert cache.exact(SCOPE, "Why?") == {"text": "So."}


def test_a_file_that_cannot_be_written_costs_the_cache_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = AnswerCache(tmp_path / "file" / "answers.db", CacheConfig())
    cache.put(SCOPE, "Why?", {"text": "So."}, None)
    assert cache.exact(SCOPE, "Why?") is None
    assert cache.stats.failed >= 2


def test_many_threads_share_one_cache(opened: Open) -> None:
    cache = opened()

    def work(name: int) -> None:
        for number in range(20):
            cache.put(SCOPE, f"{name} {number}", {"text": f"{name} {number}"}, AXES[name % 4])
            assert cache.exact(SCOPE, f"{name} {number}") == {"text": f"{name} {number}"}

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (cache.stats.exact, cache.stats.stored, cache.stats.entries) == (160, 160, 160)


def test_rows_are_readable_json(opened: Open, tmp_path: Path) -> None:
    cache = opened()
    cache.put(SCOPE, "왜?", {"text": "그래서"}, None)
    with sqlite3.connect(tmp_path / "cache" / "answers.db") as connection:
        assert connection.execute("SELECT answer FROM answers").fetchone() == ('{"text": "그래서"}',)
