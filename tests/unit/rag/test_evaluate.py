"""The evaluation's arithmetic against values worked out by hand."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from quantserve.core.errors import InputError
from quantserve.core.stats import difference, estimate
from quantserve.rag.evaluate.answers import claims_of, sample, score_answer, summarise
from quantserve.rag.evaluate.gold import chunks_of_place, squeezed
from quantserve.rag.evaluate.judge import OverlapJudge, verdict_of
from quantserve.rag.evaluate.metrics import hit_at, ndcg_at, recall_at, reciprocal_rank
from quantserve.rag.evaluate.questions import Place, Question, load_questions
from quantserve.rag.evaluate.roc import roc, scores_of
from quantserve.rag.retrieve import Passage
from quantserve.rag.store.chunks import Chunk

A, B = frozenset({3, 4}), frozenset({9})


@pytest.mark.parametrize(
    ("ranking", "hit1", "recall4", "mrr", "ndcg"),
    [
        ([3, 9, 1], 1.0, 1.0, 1.0, 1.0),
        ([1, 4, 3, 2, 9], 0.0, 0.5, 0.5, (0.630930 + 0.386853) / 1.630930),
        ([1, 2], 0.0, 0.0, 0.0, 0.0),
        ([], 0.0, 0.0, 0.0, 0.0),
    ],
)
def test_rank_metrics(ranking: list[int], hit1: float, recall4: float, mrr: float, ndcg: float) -> None:
    places = (A, B)
    assert hit_at(ranking, places, 1) == hit1
    assert recall_at(ranking, places, 4) == recall4
    assert reciprocal_rank(ranking, places) == mrr
    assert ndcg_at(ranking, places, 10) == pytest.approx(ndcg, abs=1e-5)


def test_intervals_hold_the_mean_narrow_with_equal_values_and_are_the_same_every_time() -> None:
    found = estimate([0.0, 1.0, 1.0, 0.0, 1.0])
    assert found is not None
    assert found.mean == pytest.approx(0.6)
    assert found.n == 5
    assert 0.0 <= found.low < 0.6 < found.high <= 1.0
    assert found == estimate([0.0, 1.0, 1.0, 0.0, 1.0])
    same = difference([0.5, 0.7], [0.4, 0.6])
    assert same is not None
    assert [same.low, same.high] == pytest.approx([0.1, 0.1])
    assert estimate([]) is None


def chunk(row: int, text: str, file: str = "docs/a.md") -> Chunk:
    return Chunk(f"id{row}", f"/{file}", file, None, "", 0, len(text), text, text)


def test_gold_is_the_chunk_with_the_whole_evidence_or_those_with_half_of_a_cut_one() -> None:
    chunks = [chunk(0, "Spare bulbs are kept"), chunk(1, "in the cellar, dry."), chunk(2, "x", "docs/b.md")]
    texts = [squeezed(one.text) for one in chunks]
    assert chunks_of_place(Place(file="a.md", evidence="Bulbs are  kept"), chunks, texts) == {0}
    cut = Place(file="a.md", evidence="Spare bulbs are kept in the cellar, dry")
    assert chunks_of_place(cut, chunks, texts) == {0}
    assert chunks_of_place(Place(file="c.md", evidence="bulbs"), chunks, texts) == frozenset()


def test_roc_of_separable_equal_and_mixed_signals() -> None:
    assert roc([3.0, 4.0], [1.0, 2.0]).area == 1.0
    assert roc([1.0, 1.0], [1.0]).area == 0.5
    mixed = roc([1.0, 3.0], [2.0])
    assert mixed.area == 0.5
    assert mixed.thresholds == (3.0, 2.0, 1.0)
    assert (mixed.true_positive_rates, mixed.false_positive_rates) == ((0.5, 0.5, 1.0), (0.0, 1.0, 1.0))


def test_scores_are_the_best_of_what_was_found_and_what_was_not_computed_has_none() -> None:
    passages = [Passage(chunk(0, "a"), 1.5, 0.8, None), Passage(chunk(1, "b"), 1.0, 0.9, None)]
    assert scores_of(passages) == {"similarity": 0.9, "score": 1.5}
    assert scores_of([]) == {"similarity": 0.0, "score": 0.0, "bm25": 0.0}


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("It is dry [1]. It is cold. [2][3]", [("It is dry .", (1,)), ("It is cold.", (2, 3))]),
        ("연차는 17일이다. [1]\n사흘을 쉰다.", [("연차는 17일이다.", (1,)), ("사흘을 쉰다.", ())]),
        ("[1]", []),
    ],
)
def test_claims_have_their_citations(text: str, claims: list[tuple[str, tuple[int, ...]]]) -> None:
    assert claims_of(text) == claims


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("Yes.", 1.0),
        ("no, it does not", 0.0),
        ("예", 1.0),
        ("아니요", 0.0),
        ("I cannot say", None),
        ("", None),
    ],
)
def test_the_judges_words(reply: str, verdict: float | None) -> None:
    assert verdict_of(reply) == verdict


@dataclass(frozen=True)
class Said:
    text: str
    mode: str
    passages: tuple[Passage, ...]


def question(identifier: str, *, answerable: bool = True) -> Question:
    file, evidence = ("a.md", "bulbs are kept in the cellar") if answerable else (None, None)
    return Question(
        id=identifier, question="Where?", language="en", kind="paraphrase", file=file, evidence=evidence
    )


def test_answers_are_scored_by_their_sentences_and_citations() -> None:
    passages = (
        Passage(chunk(0, "The spare bulbs are kept in the cellar."), 1.0, 0.9, 1.0),
        Passage(chunk(1, "Visitors climb on Sundays."), 0.9, 0.8, 1.0),
    )
    judge = OverlapJudge()
    good = Said("Spare bulbs are kept in the cellar [1]. Bulbs are kept [2].", "generate", passages)
    bad = Said("Dragons guard treasure [2].", "generate", passages)
    refused = Said("I do not know.", "unknown", passages)
    scores = [
        score_answer(question("a"), good, judge),
        score_answer(question("b"), bad, judge),
        score_answer(question("c", answerable=False), refused, judge),
    ]
    assert [one.faithfulness for one in scores] == [1.0, 0.0, None]
    assert [one.citation_precision for one in scores] == [0.5, 0.0, None]
    assert [one.citation_gold for one in scores] == [0.5, 0.0, None]
    found = summarise(scores, judge)
    assert (found.refused_answerable, found.refused_unanswerable) == (0.0, 1.0)
    assert found.modes == {"generate": 2, "unknown": 1}


def test_a_sample_is_spread_over_the_file() -> None:
    questions = [question(str(number)) for number in range(10)]
    assert [one.id for one in sample(questions, 4)] == ["0", "2", "5", "7"]
    assert sample(questions, 99) == questions


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"id": "a"}', "line 1"),
        ('\n{"id": "a", "question": "q", "language": "en", "kind": "x", "file": "f"}', "line 2"),
        ("", "holds no question"),
        ("not json", "line 1"),
    ],
)
def test_a_wrong_question_file_is_refused_by_line(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=said):
        load_questions(path)
