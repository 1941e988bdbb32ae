"""When the answer is "I do not know": measured limits, and what models say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args

import pytest

from quantserve.core.errors import InputError
from quantserve.rag.config import RagConfig, RerankConfig, RetrieveConfig, RetrieveMode
from quantserve.rag.store.generation import Generation
from quantserve.rag.trust.calibration import (
    Calibration,
    Entry,
    Limit,
    calibration_of,
    load_calibration,
    write_calibration,
)
from quantserve.rag.trust.fit import Asked, fit
from quantserve.rag.trust.names import names_in, unseen_names
from quantserve.rag.trust.unknown import says_unknown, why_unknown
from tests.unit.rag.passages import passage


def generation(text: str = "", model: str = "models/multilingual-e5-small", weights: str = "x") -> Generation:
    """An index of one chunk."""
    settings = SimpleNamespace(embedding_model=model, embedding_fingerprint=weights)
    rows = SimpleNamespace(rows=lambda wanted: [passage(text).chunk for _ in wanted])
    made: Any = SimpleNamespace(
        manifest=SimpleNamespace(settings=settings),
        chunks=rows,
        search_words=lambda query, k: [(0, 1.0)],
        vocabulary=lambda: set(text.split()),
    )
    return cast(Generation, made)


ENTRY = Entry(
    embedding_model="multilingual-e5-small",
    embedding_fingerprint="old",
    mode="hybrid",
    limits=(Limit(signal="similarity", least=0.8), Limit(signal="unseen_names", most=0)),
    answerable=200,
    unanswerable=18,
    kept=0.98,
    refused=0.33,
)


@pytest.mark.parametrize(
    ("question", "similarity", "why"),
    [
        ("Where are the logs?", 0.9, ""),
        ("Where are the logs?", 0.79, "similarity"),
        ("How do I leave Pinecone for FAISS?", 0.9, "no document mentions Pinecone"),
        ("What caused incident 2026-021?", 0.9, "no document mentions 2026-021"),
    ],
)
def test_limits_decide(question: str, similarity: float, why: str) -> None:
    found = [passage("FAISS holds the vectors.", similarity=similarity)]
    reason = why_unknown(question, found, generation("FAISS, 2026-014"), ENTRY, 0.1)
    assert (why in reason, bool(reason)) == (True, bool(why))


def test_without_passages_or_measurements() -> None:
    assert why_unknown("Why?", [], generation(), None, 0.78) == "nothing was found"
    assert why_unknown("Why?", [passage("x", similarity=0.7)], generation(), None, 0.78)
    assert not why_unknown("Why?", [passage("x", similarity=0.8)], generation(), None, 0.78)


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("How do I migrate from Pinecone?", ["Pinecone"]),
        ("Why does gRPC fail? Does it?", ["gRPC"]),
        ("SMS로 OTP를 받나요?", ["SMS", "OTP"]),
        ("사고 2026-021의 원인은? vLLM 때문인가요?", ["2026-021", "vLLM"]),
        ("What happens after 30 days?", []),
    ],
)
def test_names(question: str, names: list[str]) -> None:
    assert names_in(question) == names


def test_the_shipped_limits_hold_for_the_default_model_in_every_mode() -> None:
    shipped = load_calibration()
    for mode in get_args(RetrieveMode):
        options = replace(RetrieveConfig(), mode=mode)
        entry = shipped.find(generation(), options)
        assert entry is not None
        assert (entry.kept >= 0.95, entry.refused >= 0.3) == (True, True)
    assert shipped.find(generation(model="models/other"), RetrieveConfig()) is None
    reranked = RetrieveConfig(rerank=RerankConfig(kind="endpoint", model="some/reranker"))
    assert shipped.find(generation(), reranked) is None


def test_an_entry_for_the_very_weights_comes_first(tmp_path: Path) -> None:
    measured = ENTRY.model_copy(update={"embedding_fingerprint": "new"})
    write_calibration(tmp_path / "c.json", Calibration(entries=(ENTRY, measured)))
    read = load_calibration(tmp_path / "c.json")
    assert read.find(generation(weights="new"), RetrieveConfig()) == measured
    assert read.find(generation(weights="old"), RetrieveConfig()) == ENTRY


def test_the_named_file_comes_first_then_the_one_beside_a_local_index_then_the_shipped(
    tmp_path: Path,
) -> None:
    local = RagConfig(index_dir=tmp_path / "index", store="faiss")
    assert calibration_of(local) == load_calibration()
    (tmp_path / "index").mkdir()
    write_calibration(tmp_path / "index" / "calibration.json", Calibration(entries=(ENTRY,)))
    assert calibration_of(local) == Calibration(entries=(ENTRY,))
    assert calibration_of(replace(local, store="postgresql://host/x")) == load_calibration()
    write_calibration(tmp_path / "named.json", Calibration())
    named = replace(local.answer, calibration=tmp_path / "named.json")
    assert calibration_of(replace(local, answer=named)) == Calibration()


@pytest.mark.parametrize("text", ["", "{}}", '{"schema_version": 2}', '{"entries": [{"mode": "magic"}]}'])
def test_a_wrong_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(InputError, match="rag eval"):
        load_calibration(tmp_path / "c.json")


def test_fitting_keeps_what_it_must_and_leaves_out_what_says_nothing() -> None:
    good = [
        Asked({"similarity": 0.80 + i / 1000, "bm25": 5.0, "unseen_names": 0.0}, True) for i in range(100)
    ]
    bad = [
        Asked({"similarity": 0.70 + i / 50, "bm25": 5.0, "unseen_names": float(i < 5)}, False)
        for i in range(10)
    ]
    fitted = fit([*good, *bad], keep=0.97)
    assert [limit.signal for limit in fitted.limits] == ["similarity", "unseen_names"]
    assert fitted.limits[0].least == pytest.approx(0.801)
    assert fitted.kept == pytest.approx(0.99)
    assert fitted.refused == pytest.approx(0.6)  # 0.70 … 0.80 by likeness, the first five by name, too
    with pytest.raises(ValueError, match="questions that are not"):
        fit(good)


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("I do not know.", True),
        ("I don’t know based on the passages.", True),
        ("Sorry, I cannot answer this.", True),
        ("The passages do not mention it.", True),
        ("모르겠습니다.", True),
        ("죄송합니다만, 알 수 없습니다.", True),
        ("주어진 문단에는 그 내용이 없습니다.", True),
        ("The keeper does not know the time.", False),
        ("연차는 17일입니다. [1]", False),
        ("I do not know the exact day, but " + "the log says it was in May and " * 8, False),
        ("", False),
    ],
)
def test_what_models_say_when_they_do_not_know(text: str, unknown: bool) -> None:
    assert says_unknown(text) is unknown


def test_a_question_that_found_nothing_is_refused_by_itself() -> None:
    asked = [Asked({"bm25": 3.0}, True), Asked({}, False, found=False), Asked({"bm25": 3.0}, False)]
    fitted = fit(asked)
    assert (fitted.kept, fitted.refused) == (1.0, 0.5)


@pytest.mark.parametrize(
    ("question", "text", "unseen"),
    [
        ("How Many Users Were In The Pilot?", "Some users were in the pilot.", []),
        ("Who May access the logs?", "The logs may be read by anybody.", []),
        ("What probes does Kubernetes use?", "쿠버네티스 프로브", []),
        ("What probes does Pinecone use?", "쿠버네티스 프로브", ["Pinecone"]),
    ],
)
def test_a_capital_alone_makes_no_name_and_a_loanword_is_one_in_either_script(
    question: str, text: str, unseen: list[str]
) -> None:
    english = passage("probes")
    assert unseen_names(question, [english], generation(text)) == unseen
