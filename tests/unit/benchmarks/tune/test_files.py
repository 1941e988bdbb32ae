"""What a search leaves on disk: the profile, its evidence, and the journal of an interrupted one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quantserve.benchmarks.tune.files import Journal, write_profile
from quantserve.benchmarks.tune.search import Comparison, PairVerdict, SearchResult, gain
from quantserve.benchmarks.tune.space import SPECULATION, ngram
from quantserve.serving.profiles import Profile, load_profile
from tests.unit.benchmarks.tune.build import settings

START = settings(Profile.model_validate({"description": "한국어", "device": "cpu", "max_sequences": 64}))
PAIRS = ((120.0, 100.0), (121.0, 100.0), (119.0, 100.0))
WON = Comparison({}, {"max_sequences": 128, SPECULATION: ngram(2)}, PairVerdict.WINS, gain(PAIRS), PAIRS)
NOT_STARTED = Comparison(
    {}, {"chunked_prefill": False}, PairVerdict.STAYS, gain(()), (), "does not start: no room"
)


def test_the_profile_loads_and_carries_its_evidence(tmp_path: Path) -> None:
    found = SearchResult(dict(WON.candidate), [NOT_STARTED, WON], WON)
    path = tmp_path / "tuned.yaml"
    evidence = write_profile(path, START.changed(found.changes), found, {"machine": "2 cores"})
    profile = load_profile(str(path))
    assert (profile.max_sequences, profile.vllm["speculative-config"]) == (128, ngram(2))
    assert profile.description == "한국어"
    text = path.read_text()
    assert "# machine: 2 cores" in text
    assert "chunked_prefill=False: does not start: no room" in text
    assert "measured afresh: ×1.20 (1.18…1.23), taken" in text
    kept = json.loads(evidence.read_text())
    assert kept["tried"][1]["pairs"][0] == [120.0, 100.0]
    assert kept["confirmed"]["verdict"] == "wins"


def test_a_profile_in_the_run_directory_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_profile(Path("run/profiles/night.yaml"), START.own, SearchResult({}), {})
    assert load_profile("night").description == "한국어"


def test_an_interrupted_search_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path, about = tmp_path / "j.jsonl", {"workload": "w"}
    first = Journal(path, about)
    first.add("search", WON)
    with path.open("a") as stream:
        stream.write('{"kind": "search", "compar')  # killed while writing
    again = Journal(path, about)
    assert again.get("search", WON.candidate, {}) == WON
    assert again.get("confirm", WON.candidate, {}) is None
    assert len(Journal(path, {"workload": "another"})) == 0
