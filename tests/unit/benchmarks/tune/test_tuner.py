"""How two settings are compared: in turns, with prompts no engine has seen, and never twice."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from quantserve.benchmarks.errors import ServerNotStarted, ServerTooLarge
from quantserve.benchmarks.servers import Server
from quantserve.benchmarks.tune.files import Journal
from quantserve.benchmarks.tune.search import PairVerdict, StoppingRule
from quantserve.benchmarks.tune.space import Changes, ProfileSettings
from quantserve.benchmarks.tune.tuner import Engines, Instruments, Tuner

RULE = StoppingRule(first_look=3, most_pairs=6)


class Bench:
    """Scores engines by their batch size and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def engine(self, changes: Changes) -> Server:
        if changes.get("chunked_prefill") is False:
            raise ServerNotStarted("the server does not start: no room for the cache")
        return Server("http://x/v1", str(changes.get("max_sequences", 64)))

    def score(self, engine: Server, seed: int) -> float:
        self.asked.append((engine.model, seed))
        return float(engine.model)

    def tuner(self, path: Path) -> Tuner:
        instruments = Instruments(self.engine, lambda _: None, self.score)
        return Tuner(instruments, Journal(path, {}), RULE)


def test_sides_take_turns_and_every_pair_has_its_own_prompts(tmp_path: Path) -> None:
    bench = Bench()
    outcome = bench.tuner(tmp_path / "j").compare({"max_sequences": 128}, {})
    assert outcome.verdict is PairVerdict.WINS
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
    assert (outcome.verdict, bench.asked) == (PairVerdict.STAYS, [])
    assert outcome.note == "does not start: no room for the cache"


def test_nothing_is_decided_where_the_profile_itself_does_not_start(tmp_path: Path) -> None:
    broken: Changes = {"chunked_prefill": False}
    instruments = Instruments(
        lambda these: Bench().engine({**broken, **these}), lambda _: None, Bench().score
    )
    journal = Journal(tmp_path / "j", {})
    with pytest.raises(ServerNotStarted, match="no room for the cache"):
        Tuner(instruments, journal, RULE).compare({"max_sequences": 32}, {})
    assert len(journal) == 0


def test_engines_that_do_not_fit_together_run_one_at_a_time(tmp_path: Path) -> None:
    up: list[str] = []

    @contextlib.contextmanager
    def start(profile: Path) -> Iterator[Server]:
        name = profile.read_text()
        if up or "16384" in name:
            raise ServerTooLarge("the server does not start: no memory")
        up.append(name)
        yield Server("http://x/v1", "m", (os.getpid(),))
        up.remove(name)

    with Engines(start, ProfileSettings({"description": "x"}, {}), capacity=2) as engines:
        engines.get({"max_sequences": 8})
        engines.get({"max_sequences": 16})
        assert (len(up), engines.capacity) == (1, 1)
        instruments = Instruments(engines.get, engines.needed_soon, lambda engine, seed: 1.0)
        tuner = Tuner(instruments, Journal(tmp_path / "j", {}), RULE)
        outcome = tuner.compare({"max_batched_tokens": 16384}, {"max_sequences": 16})
        assert (outcome.verdict, outcome.note) == (PairVerdict.STAYS, "does not start: no memory")
    assert up == []


def test_what_is_settled_is_not_measured_again(tmp_path: Path) -> None:
    Bench().tuner(tmp_path / "j").compare({"max_sequences": 32}, {})
    later = Bench()
    assert later.tuner(tmp_path / "j").compare({"max_sequences": 32}, {}).verdict is PairVerdict.STAYS
    assert later.asked == []
