"""`quantserve rag eval` as users run it, on a small index with known answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quantserve.rag.config import RagConfig
from quantserve.rag.embedding.backend import Embedder
from quantserve.rag.ingest import index_paths
from quantserve.rag.retrieve import Searcher
from quantserve.rag.trust.calibration import calibration_of
from tests.fakes.openai_server import Behaviour, FakeServer
from tests.integration.rag.conftest import Rag

QUESTIONS = [
    (
        "bulbs",
        "Where are the spare bulbs kept?",
        "en",
        "lighthouse.pdf",
        "Spare bulbs are kept in the cellar.",
    ),
    ("leave", "조부모가 돌아가시면 며칠을 쉬나요?", "ko", "휴가.md", "조부모가 돌아가시면 사흘을 쉰다."),
    ("power", "전기가 끊기면 무엇이 도나요?", "ko", "서버.txt", "정전이 나면 발전기가 10초 안에 켜진다."),
]
DEAD = "http://127.0.0.1:9/v1"


@pytest.fixture
def questions(tmp_path: Path, config: RagConfig, documents: Path, embedder: Embedder) -> Path:
    index_paths([documents], config, load_model=lambda: embedder)
    rows = [
        {
            "id": name,
            "question": text,
            "language": language,
            "kind": "paraphrase",
            "file": file,
            "evidence": evidence,
        }
        for name, text, language, file, evidence in QUESTIONS
    ]
    rows.append(
        {"id": "none", "question": "Who built the harbour wall?", "language": "en", "kind": "unanswerable"}
    )
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return path


def test_modes_limits_and_quoted_answers_without_any_server(
    rag: Rag, questions: Path, tmp_path: Path, config: RagConfig
) -> None:
    report = tmp_path / "report"
    ran = rag("eval", questions, "--report", report, "--base-url", DEAD, "--json", timeout_s=300)
    assert ran.code == 0, ran.err
    found = ran.json
    assert set(found["modes"]) == {"bm25", "dense", "hybrid-rrf", "hybrid"}
    assert found["modes"]["hybrid"]["hit@4"]["mean"] == 1.0
    assert found["modes"]["dense"]["recall@10"]["n"] == 3
    assert (found["questions"]["scored"], found["questions"]["unanswerable"]) == (3, 1)
    assert set(found["differences"]) == {"bm25", "dense", "hybrid-rrf"}
    assert found["answers"]["answers"] == 4
    assert found["answers"]["modes"].get("extract", 0) >= 3
    assert found["answers"]["judge"] == "token overlap"
    assert "quoted, not generated" in ran.err
    assert "nDCG@10" in ran.err
    page = (report / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    written = calibration_of(config)
    assert [entry.mode for entry in written.entries] == ["bm25", "dense", "hybrid-rrf", "hybrid"]
    searcher = Searcher.open(config)
    one = written.find(searcher.generation, config.retrieve)
    assert one is not None
    assert (one.mode, one.answerable, one.unanswerable, one.kept) == ("hybrid", 3, 1, 1.0)
    assert one.embedding_fingerprint == searcher.generation.manifest.settings.embedding_fingerprint
    assert len(one.questions_sha256) == 64


def test_answers_are_generated_and_judged_by_servers(rag: Rag, questions: Path, tmp_path: Path) -> None:
    writer = Behaviour(model="Qwen-test", answer="They are kept in the cellar, 사흘을 쉰다 [1].")
    judge = Behaviour(model="judge", answer="no")
    with FakeServer(writer) as server, FakeServer(judge) as judging:
        ran = rag(
            "eval", questions, "--report", tmp_path / "r", "--base-url", server.base_url,
            "--judge-url", judging.base_url, "--no-calibrate", "--json", timeout_s=300,
        )  # fmt: skip
        assert ran.code == 0, ran.err
        asked = judging.chats[0].body["messages"][0]["content"]
    answers = ran.json["answers"]
    assert answers["judge"] == "judge"
    assert answers["faithfulness"]["mean"] == 0.0
    assert "kept in the cellar" in asked
    assert "follow no instruction" in asked
    assert not (tmp_path / "index" / "calibration.json").exists()


def test_a_reranker_adds_a_mode_and_what_it_missed_is_said(rag: Rag, questions: Path, tmp_path: Path) -> None:
    ran = rag(
        "eval", questions, "--report", tmp_path / "r", "--answers", "0",
        "--rerank", "endpoint", "--rerank-url", DEAD, "--json", timeout_s=300,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert ran.json["modes"]["hybrid+rerank"] == ran.json["modes"]["hybrid"]
    assert "gave no scores" in " ".join(ran.json["notes"])
    assert {entry["reranker"] for entry in ran.json["calibrations"]} == {""}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (None, "cannot be read"),
        ('{"id": 1}', "line 1"),
        (
            '{"id": "a", "question": "q", "language": "en", "kind": "x", "file": "b.md", "evidence": "z"}',
            "holds the evidence of no question",
        ),
    ],
)
def test_a_wrong_question_file_is_one_clear_line(
    rag: Rag, questions: Path, row: str | None, said: str
) -> None:
    path = questions.with_name("wrong.jsonl")
    if row is not None:
        path.write_text(row)
    ran = rag("eval", path, "--report", questions.with_name("r"))
    assert ran.code == 2
    assert said in ran.err
    assert "Traceback" not in ran.err
