"""What of a model's words is shown: its citations hold, it keeps to the passages, else they are quoted."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantserve.rag.answer.wording import UNKNOWN
from quantserve.rag.trust.calibration import Calibration, load_calibration, write_calibration
from quantserve.rag.trust.measure import measure
from tests.integration.rag.answering.bench import BULBS, Bench


def test_an_invented_citation_never_reaches_the_reader(bench: Bench) -> None:
    bench.server.change(answer="The spare bulbs are kept in the cellar [17] [1, 9].")
    streamed: list[str] = []
    answer = bench.answerer(mode="generate").answer(BULBS, on_text=streamed.append)
    assert "".join(streamed) == answer.text == "The spare bulbs are kept in the cellar [1]."
    assert (answer.cited, answer.invented_citations) == ((1,), 2)


def test_an_answer_without_citation_gets_the_closest_passage(bench: Bench) -> None:
    bench.server.change(answer="The spare bulbs are kept in the cellar.")
    streamed: list[str] = []
    answer = bench.answerer().answer(BULBS, on_text=streamed.append)
    assert answer.attributed
    assert "cellar" in answer.passages[answer.cited[0] - 1].chunk.text
    assert "".join(streamed) == answer.text


def test_an_english_only_model_quotes_for_a_korean_question(bench: Bench) -> None:
    bench.server.change(model="SmolLM2-135M-Instruct")
    answer = bench.answerer().answer("조부모가 돌아가시면 며칠을 쉬나요?")
    assert (answer.mode, bench.asked) == ("extract", 0)
    assert "조부모가 돌아가시면 사흘을 쉰다. [" in answer.text


@pytest.mark.parametrize(
    ("said", "mode"),
    [
        ("The spare bulbs are kept in the cellar.", "generate"),
        ("Bulbs are a concept of computer science in artificial intelligence.", "extract"),
    ],
)
def test_a_weak_model_is_shown_only_while_it_keeps_to_the_passages(
    bench: Bench, said: str, mode: str
) -> None:
    bench.server.change(model="SmolLM2-135M-Instruct", answer=said)
    answer = bench.answerer().answer(BULBS)
    assert answer.mode == mode
    assert "cellar" in answer.text
    assert "cellar" in answer.passages[answer.cited[0] - 1].chunk.text


def test_a_model_that_goes_round_in_circles_is_stopped_and_quoted_instead(bench: Bench) -> None:
    bench.server.change(answer="They are kept in the cellar. " * 50)
    answer = bench.answerer().answer(BULBS)
    assert (answer.mode, answer.withdrawn, "repeated itself" in answer.reason) == ("extract", True, True)


def test_another_language_is_noticed_before_it_is_shown(bench: Bench) -> None:
    bench.server.change(answer="The employees may take seventeen days of leave in every year. " * 20)
    streamed: list[str] = []
    answer = bench.answerer().answer("입사 3년 차 직원의 연차는 며칠인가요?", on_text=streamed.append)
    assert (streamed, answer.mode, answer.withdrawn) == ([], "extract", False)
    assert "17일의 연차" in answer.text


def test_a_model_that_says_it_does_not_know_is_believed(bench: Bench) -> None:
    bench.server.change(answer="I do not know.")
    answer = bench.answerer().answer(BULBS)
    assert (answer.mode, answer.cited) == ("unknown", ())


@pytest.mark.parametrize("mode", ["auto", "extract"])
def test_what_no_document_mentions_is_not_asked(bench: Bench, mode: str) -> None:
    answer = bench.answerer(mode=mode).answer("How do I restart the Pinecone cluster?")
    assert (answer.mode, answer.text, bench.asked) == ("unknown", UNKNOWN["en"], 0)
    assert "Pinecone" in answer.reason


def test_limits_are_measured_written_and_kept_to(bench: Bench, tmp_path: Path) -> None:
    asked = [(BULBS, True), ("In fog, how often does the horn sound?", True), ("When is the lamp lit?", True)]
    asked += [("How is Kubernetes set up?", False), ("Who wrote the Iliad?", False)]
    options = bench.searcher.config.retrieve
    searched = [(question, bench.searcher.search(question), answerable) for question, answerable in asked]
    entry = measure(bench.searcher.generation, options, searched, keep=1.0)
    assert (entry.answerable, entry.unanswerable, entry.kept) == (3, 2, 1.0)
    assert entry.refused == 1.0
    calibration = Calibration().with_entry(entry)
    write_calibration(tmp_path / "calibration.json", calibration.with_entry(entry))
    answerer = bench.answerer(calibration=load_calibration(tmp_path / "calibration.json"))
    assert [answerer.answer(question).mode for question, _ in asked] == [
        "generate",
        "extract",  # the model says the same of bulbs, which was not asked
        "extract",
        "unknown",
        "unknown",
    ]
