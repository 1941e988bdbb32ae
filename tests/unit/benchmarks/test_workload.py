from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantserve.benchmarks.errors import BadOption, BadRun
from quantserve.benchmarks.load import workload
from quantserve.benchmarks.load.synthetic import Spread, Synthetic, make
from quantserve.benchmarks.load.workload import parse_workload


def words(text: str | list[dict[str, Any]]) -> int:
    return len(text.split()) if isinstance(text, str) else sum(len(m["content"].split()) for m in text) + 7


def pieces(text: str | list[dict[str, Any]]) -> int:
    """A tokenizer that cuts long words in two and adds a beginning."""
    assert isinstance(text, str)
    return 1 + sum(2 if len(word) > 6 else 1 for word in text.split())


@given(length=st.integers(3, 300), seed=st.integers(0, 1000))
def test_lengths_are_exact(length: int, seed: int) -> None:
    tasks = make(Synthetic(Spread(length, length), Spread(8, 8)), 3, seed, pieces)
    for task in tasks:
        prompt = task.turns[0].prompt
        assert isinstance(prompt, str)
        assert abs(pieces(prompt) - length) <= 1  # a two-piece word may not fit the last place
        assert task.turns[0].prompt_tokens == pieces(prompt)


def test_chat_lengths_include_the_template() -> None:
    task = make(Synthetic(Spread(40, 40), Spread(8, 8), chat=True), 1, 0, words)[0]
    assert words(task.turns[0].prompt) == 40


def test_the_same_seed_makes_the_same_prompts() -> None:
    spec = Synthetic(Spread(8, 64), Spread(4, 32))
    assert make(spec, 5, 1, words) == make(spec, 5, 1, words)


def test_another_wording_keeps_the_lengths() -> None:
    spec = Synthetic(Spread(8, 64), Spread(4, 32))
    one, other = (make(spec, 20, 1, words, wording) for wording in (0, 1))
    lengths = [[(t.turns[0].prompt_tokens, t.turns[0].max_tokens) for t in tasks] for tasks in (one, other)]
    assert lengths[0] == lengths[1]
    assert not {task.turns[0].prompt for task in one} & {task.turns[0].prompt for task in other}


def test_prompts_begin_differently() -> None:
    tasks = make(Synthetic(Spread(30, 30), Spread(8, 8)), 50, 2, words)
    starts = {" ".join(str(task.turns[0].prompt).split()[:4]) for task in tasks}
    assert len(starts) == 50


def test_a_shared_prefix_is_shared() -> None:
    tasks = make(Synthetic(Spread(40, 40), Spread(8, 8), shared_share=0.5), 10, 2, words)
    starts = {" ".join(str(task.turns[0].prompt).split()[:20]) for task in tasks}
    assert len(starts) == 1
    assert len({str(task.turns[0].prompt) for task in tasks}) == 10
    assert tasks[0].turns[0].shared_tokens == 18


def test_output_lengths_stay_in_range() -> None:
    tasks = make(Synthetic(Spread(8, 8), Spread(3, 9)), 100, 2, words)
    assert {task.turns[0].max_tokens for task in tasks} == set(range(3, 10))


def test_the_bilingual_set_is_half_korean() -> None:
    rows = [json.loads(line) for line in workload.BILINGUAL.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 60
    assert sum(row["language"] == "ko" for row in rows) == 30
    assert len({row["question"] for row in rows}) == 60


def test_sharegpt_keeps_questions_and_answer_lengths(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    talk = [
        {"from": "human", "value": "one?"},
        {"from": "gpt", "value": "x" * 80},
        {"from": "human", "value": "two?"},
        {"from": "gpt", "value": "y" * 4000},
    ]
    path.write_text(json.dumps([{"conversations": talk}, {"conversations": []}]))
    task = workload.sharegpt(path, 1, 0, turns=2, max_tokens=100)[0]
    assert [turn.prompt for turn in task.turns] == [
        [{"role": "user", "content": "one?"}],
        [{"role": "user", "content": "two?"}],
    ]
    assert [turn.max_tokens for turn in task.turns] == [20, 100]


@pytest.mark.parametrize(
    "text", ["[]", "{}", "[1]", "no json", '[{"conversations": [{"from": "gpt", "value": "x"}]}]']
)
def test_a_useless_sharegpt_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(text)
    with pytest.raises(BadRun):
        workload.sharegpt(path, 1, 0)


def test_a_spec_is_read() -> None:
    found = parse_workload("synthetic:prompt=16-64,output=8,shared=0.5,turns=2,chat")
    assert (found.prompt, found.output) == (Spread(16, 64), Spread(8, 8))
    assert (found.shared, found.turns, found.chat) == (0.5, 2, True)


@pytest.mark.parametrize(
    "text",
    [
        "poetry",
        "synthetic:prompt=0",
        "synthetic:prompt=9-3",
        "synthetic:shared=1.5",
        "synthetic:turns=0",
        "synthetic:colour=red",
        "sharegpt",
        "questions:output=4",
    ],
)
def test_a_bad_spec_is_refused(text: str) -> None:
    with pytest.raises(BadOption):
        parse_workload(text)
