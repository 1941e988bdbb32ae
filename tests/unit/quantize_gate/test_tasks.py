from __future__ import annotations

from pathlib import Path

import pytest

from quantserve.quantize.gate.measure.config import GateConfig
from quantserve.quantize.gate.measure.errors import TasksFailed
from quantserve.quantize.gate.measure.tasks import (
    TaskPair,
    TaskPlan,
    TaskScores,
    command,
    compare_tasks,
    main_metric,
    mean_recovery,
    parse_results,
    run_tasks,
)

RESULTS = {
    "results": {
        "arc": {
            "alias": "arc",
            "acc,none": 0.3,
            "acc_stderr,none": 0.01,
            "acc_norm,none": 0.35,
            "acc_norm_stderr,none": "N/A",
            "sample_len": 100,
        }
    }
}


def test_figures_are_read_without_their_errors() -> None:
    assert parse_results(RESULTS).scores == {"arc": {"acc,none": 0.3, "acc_norm,none": 0.35}}


def test_no_figures_are_a_failure() -> None:
    with pytest.raises(TasksFailed, match="wrote no figures"):
        parse_results({"results": {"arc": {"alias": "arc"}}})


@pytest.mark.parametrize(
    ("figures", "metric"),
    [
        ({"acc,none": 0.3, "acc_norm,none": 0.35}, "acc_norm,none"),
        ({"exact_match,flexible-extract": 0.1, "acc,none": 0.2}, "exact_match,flexible-extract"),
        ({"word_perplexity,none": 20.0}, "word_perplexity,none"),
        ({}, None),
    ],
)
def test_a_task_is_judged_by_its_usual_metric(figures: dict[str, float], metric: str | None) -> None:
    assert main_metric(figures) == metric


@pytest.mark.parametrize(
    ("pair", "recovery"),
    [
        (TaskPair("t", "acc,none", 0.5, 0.45), 0.9),
        (TaskPair("t", "word_perplexity,none", 9.0, 10.0), 0.9),
        (TaskPair("t", "acc,none", 0.0, 0.1), None),
    ],
)
def test_recovery_is_the_share_of_the_base(pair: TaskPair, recovery: float | None) -> None:
    assert pair.recovery == recovery


def test_only_tasks_that_both_have_are_compared() -> None:
    base = TaskScores({"a": {"acc,none": 0.5}, "b": {"acc,none": 0.5}})
    candidate = TaskScores({"a": {"acc,none": 0.4}})

    pairs = compare_tasks(base, candidate)

    assert pairs == (TaskPair("a", "acc,none", 0.5, 0.4),)
    assert mean_recovery(pairs) == 0.8
    assert compare_tasks(None, candidate) == ()
    assert mean_recovery(()) is None


def test_the_command_names_the_engine_and_the_tasks(tmp_path: Path) -> None:
    config = GateConfig(eval_python=Path("/eval/python"))
    plan = TaskPlan(("arc", "mine"), tmp_path, 10)

    words = command(
        config, plan, url="http://127.0.0.1:9", model="m", tokenizer=tmp_path, output=Path("/out")
    )

    assert words[:4] == ["/eval/python", "-m", "lm_eval", "run"]
    assert words[words.index("--tasks") + 1] == "arc,mine"
    assert words[words.index("--limit") + 1] == "10"
    assert words[words.index("--include_path") + 1] == str(tmp_path)
    assert "base_url=http://127.0.0.1:9/v1/completions" in words[words.index("--model_args") + 1]


def test_without_an_environment_its_making_is_told(tmp_path: Path) -> None:
    config = GateConfig(eval_python=tmp_path / "none", run_dir=tmp_path)

    with pytest.raises(TasksFailed, match=r"requirements/eval\.txt"):
        run_tasks(config, TaskPlan(("arc",)), url="http://127.0.0.1:9", model="m", tokenizer=tmp_path)
