"""`benchmarks rag` over a real index and model, with a fake model server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quantserve.benchmarks import servers
from quantserve.benchmarks.errors import BadOption
from quantserve.benchmarks.measure.bench import ScenarioOptions
from quantserve.benchmarks.measure.store import Run
from quantserve.benchmarks.scenarios.rag import answers
from quantserve.benchmarks.scenarios.rag.stages import STAGES
from quantserve.rag.config import RagConfig
from tests.fakes.openai_server import FakeServer

pytestmark = pytest.mark.usefixtures("indexed")
_NOBODY = {"question": "What is the price of tea?", "evidence": None}


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    file = tmp_path / "questions.jsonl"
    rows = [{"question": f"Where is bulb number {number} kept?"} for number in range(10)]
    file.write_text("\n".join(json.dumps(row) for row in [*rows, _NOBODY]), encoding="utf-8")
    return file


def test_every_stage_is_measured_and_no_question_is_known(
    config: RagConfig, server: FakeServer, questions: Path, tmp_path: Path
) -> None:
    how = answers.RagOptions(
        index=config.index_dir,
        questions=questions,
        users=(1, 2),
        questions_per_user=2,
        least_questions=5,
        corpus_sizes=(1000,),
        searches=5,
    )
    options = ScenarioOptions(root=tmp_path / "runs", repeats=2)
    metrics = answers.measure(servers.attach(server.base_url, None, None), options, how)
    (path,) = (tmp_path / "runs").iterdir()
    run = Run.open(path)
    records = [record for measured in run.measured() for record in measured.records]
    assert len(records) == 20
    assert all(record.ok for record in records)
    for record in records:
        stages = (record.extra or {})["stages"]
        assert set(STAGES) - set(stages) == {"rerank"}
        assert stages["embed"] > 0.0005  # the model ran: no vector was remembered
    # each question was generated anew in every cell, warm-up included, and only then answered from the cache
    assert len(server.chats) == 4 * (5 + 2)
    assert len(run.extra()["cached_s"]) == 5
    assert not any("tea" in request.body["messages"][-1]["content"] for request in server.chats)
    assert [point["users"] for point in metrics["points"]] == [1, 2]
    assert "| 2 at once: cache look-up |" in (path / "summary.md").read_text(encoding="utf-8")


def test_too_few_questions_are_refused(config: RagConfig, server: FakeServer, questions: Path) -> None:
    how = answers.RagOptions(index=config.index_dir, questions=questions, users=(1,), least_questions=10)
    with pytest.raises(BadOption, match=r"10 questions are too few for 1 at once\. 11 are needed"):
        answers.measure(servers.attach(server.base_url, None, None), ScenarioOptions(repeats=1), how)
