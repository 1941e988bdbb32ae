"""How two settings are compared: in turns, with prompts no engine has seen, and never twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantserve.serving.errors import EngineDied
from quantserve.serving.profiles import Profile
from quantserve.serving.tune.decide import Rule, Verdict
from quantserve.serving.tune.engines import Running
from quantserve.serving.tune.journal import Journal
from quantserve.serving.tune.tuner import Instruments, Tuner

START = Profile.model_validate({"description": "x", "device": "cpu", "max_sequences": 64})
RULE = Rule(first_look=3, most_pairs=6)


class Bench:
    """Scores engines by their batch size and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def engine(self, profile: Profile) -> Running:
        if not profile.chunked_prefill:
            raise EngineDied("no room for the cache")
        return Running("http://x/v1", str(profile.max_sequences), 1)

    def score(self, engine: Running, seed: int) -> float:
        self.asked.append((engine.model, seed))
        return float(engine.model)

    def tuner(self, path: Path) -> Tuner:
        instruments = Instruments(self.engine, lambda _: None, self.score)
        return Tuner(START, instruments, Journal(path, {}), RULE)


def test_sides_take_turns_and_every_pair_has_its_own_prompts(tmp_path: Path) -> None:
    bench = Bench()
    outcome = bench.tuner(tmp_path / "j").compare({"max_sequences": 128}, {})
    assert outcome.verdict is Verdict.WINS
    assert [model for model, _ in bench.asked] == ["128", "64", "64", "128", "128", "64"]
    seeds = [seed for _, seed in bench.asked]
    assert seeds[0] == seeds[1] != seeds[2] == seeds[3] != seeds[4] == seeds[5]


def test_confirming_measures_afresh_and_more_often(tmp_path: Path) -> None:
    bench = Bench()
    tuner = bench.tuner(tmp_path / "j")
    tuner.compare({"max_sequences": 128}, {})
    assert tuner.confirm({"max_sequences": 128}, {}).gain.pairs == 5
    assert len(bench.asked) == 16


def test_a_candidate_that_does_not_start_loses_with_its_reason(tmp_path: Path) -> None:
    bench = Bench()
    outcome = bench.tuner(tmp_path / "j").compare({"chunked_prefill": False}, {})
    assert (outcome.verdict, bench.asked) == (Verdict.STAYS, [])
    assert "no room for the cache" in outcome.note


def test_nothing_is_decided_where_the_profile_itself_does_not_start(tmp_path: Path) -> None:
    start = START.model_copy(update={"chunked_prefill": False})
    instruments = Instruments(Bench().engine, lambda _: None, Bench().score)
    journal = Journal(tmp_path / "j", {})
    with pytest.raises(EngineDied, match="no room for the cache"):
        Tuner(start, instruments, journal, RULE).compare({"max_sequences": 32}, {})
    assert len(journal) == 0


def test_what_is_settled_is_not_measured_again(tmp_path: Path) -> None:
    Bench().tuner(tmp_path / "j").compare({"max_sequences": 32}, {})
    later = Bench()
    assert later.tuner(tmp_path / "j").compare({"max_sequences": 32}, {}).verdict is Verdict.STAYS
    assert later.asked == []
