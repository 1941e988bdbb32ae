"""A model that invents: what no passage says is not shown, and never with a citation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from quantserve.rag.embedding.backend import Embedder
from quantserve.rag.ingest import index_paths
from quantserve.rag.retrieve import Searcher
from quantserve.rag.store.generation import IndexStore
from tests.integration.rag.answering.bench import BULBS, Bench

MANUAL = (
    "# Getting the system\n\nThe official DVD set consists of 7 discs. It can be bought from vendors. "
    "The vendors set the price.\n\n"
    "# Keys\n\nKeys live for 180 days. The old key is shorter than the new key. "
    "Keys must not be stored on the server.\n\n"
    "# 요금\n\n기본 요금은 월 5,000원이다. 2호기가 1호기보다 빠르다. 야간에는 출입을 금지한다.\n"
)


@pytest.fixture(scope="module")
def manual(tmp_path_factory: pytest.TempPathFactory, searcher: Searcher, embedder: Embedder) -> Searcher:
    folder = tmp_path_factory.mktemp("manual")
    (folder / "manual.md").write_text(MANUAL, encoding="utf-8")
    config = replace(searcher.config, index_dir=folder / "index")
    index_paths([folder], config, load_model=lambda: embedder)
    return Searcher(IndexStore(config.index_dir).open(), config, load_model=lambda: embedder)


INVENTED = [
    ("How much does the official DVD set cost?", "The official DVD set costs $10. [1]"),
    ("How much does the official DVD set cost?", "$10. [1]"),
    ("How much does the official DVD set cost?", "The cost of the official DVD set. [1]"),
    ("How many discs does the official DVD set have?", "The official DVD set consists of 9 discs. [1]"),
    ("How many discs does the official DVD set have?", "The official Blu-ray set consists of 7 discs. [1]"),
    ("How long do keys live?", "Keys live for 180 months. [1]"),
    ("How long do keys live?", "Keys live. [1]"),
    ("Which key is shorter?", "The new key is shorter than the old key. [1]"),
    ("Where must keys be stored?", "Keys must be stored on the server. [1]"),
    ("Who sets the price?", "Debian sets the price. [1]"),
    ("기본 요금은 얼마인가요?", "기본 요금은 월 9,000원입니다. [1]"),
    ("기본 요금은 얼마인가요?", "기본 요금은 월 5,000달러입니다. [1]"),
    ("어느 것이 더 빠른가요?", "1호기가 2호기보다 빠릅니다. [1]"),
    ("야간에 출입할 수 있나요?", "야간에는 출입을 허용합니다. [1]"),
]


@pytest.mark.parametrize("mode", ["auto", "generate"])
@pytest.mark.parametrize("model", ["Qwen-test", "SmolLM2-135M-Instruct"])
@pytest.mark.parametrize(("question", "said"), INVENTED, ids=[said for _, said in INVENTED])
def test_what_no_passage_says_is_quoted_instead_or_refused(
    bench: Bench, manual: Searcher, question: str, said: str, model: str, mode: str
) -> None:
    bench.server.change(answer=said, model=model)
    streamed: list[str] = []
    answerer = replace(bench, searcher=manual).answerer(mode=mode)
    answer = answerer.answer(question, on_text=streamed.append)
    assert streamed == []
    assert said.removesuffix(" [1]") not in answer.text
    if mode == "generate":
        assert (answer.mode, answer.cited) == ("unknown", ())
        assert "did not keep to the passages" in answer.reason
    else:
        assert answer.mode in ("extract", "unknown")
        for line in answer.text.splitlines() if answer.mode == "extract" else ():
            quote, _, number = line.rpartition(" [")
            assert quote in answer.passages[int(number.rstrip("]")) - 1].chunk.text


def test_only_the_sentences_that_a_passage_says_are_shown(bench: Bench, manual: Searcher) -> None:
    bench.server.change(
        answer="The official DVD set consists of seven discs. It costs $10. [1] Keys live for 180 days [4]."
    )
    streamed: list[str] = []
    answer = (
        replace(bench, searcher=manual)
        .answerer()
        .answer("How many discs are in the official DVD set?", on_text=streamed.append)
    )
    assert answer.mode == "generate"
    assert "$10" not in "".join(streamed) + answer.text
    assert answer.text.startswith("The official DVD set consists of seven discs. [")
    assert "] Keys live for 180 days. [" in answer.text
    assert "".join(streamed).strip() == answer.text
    assert any("1 sentence(s) that no passage says" in note for note in answer.notes)
    for sentence, number in (("7 discs", answer.cited[0]), ("180 days", answer.cited[-1])):
        assert sentence in answer.passages[number - 1].chunk.text


def test_a_citation_of_another_passage_is_put_right(bench: Bench) -> None:
    bench.server.change(answer="The spare bulbs are kept in the cellar [2].")
    answer = bench.answerer().answer("Where are the spare bulbs kept?")
    (number,) = answer.cited
    assert "Spare bulbs are kept" in answer.passages[number - 1].chunk.text
    assert (answer.text, answer.attributed) == (
        f"The spare bulbs are kept in the cellar. [{number}]" if number != 2 else answer.text,
        number != 2,
    )


def test_a_heading_that_echoes_the_question_is_no_quote(
    bench: Bench, searcher: Searcher, embedder: Embedder, tmp_path: Path
) -> None:
    (tmp_path / "faq.txt").write_text(
        "The price of the official DVD set\n\nVendors ask what they like for it.\n", encoding="utf-8"
    )
    config = replace(searcher.config, index_dir=tmp_path / "index")
    index_paths([tmp_path / "faq.txt"], config, load_model=lambda: embedder)
    opened = Searcher(IndexStore(config.index_dir).open(), config, load_model=lambda: embedder)
    answer = (
        replace(bench, searcher=opened)
        .answerer(mode="extract")
        .answer("What is the price of the official DVD set?")
    )
    assert answer.text == "Vendors ask what they like for it. [1]"


def test_half_of_a_surrogate_pair_from_the_model_is_no_end(bench: Bench) -> None:
    bench.server.change(answer="They are kept in the cellar\ud83d [1].")
    first = bench.answerer(mode="generate").answer(BULBS)
    again = bench.answerer(mode="generate").answer(BULBS)
    assert first.text == again.text == "They are kept in the cellar\ufffd [1]."
    assert again.cached == "exact"
