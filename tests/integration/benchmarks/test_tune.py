"""Tuning's processes: engines come and go as asked, a real load gives the score, a profile is written."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from quantserve.benchmarks.errors import ServerNotStarted
from quantserve.benchmarks.measure.metrics import Slo
from quantserve.benchmarks.servers import Server, measurable
from quantserve.benchmarks.tune.scenario import score_of, scoring
from quantserve.benchmarks.tune.space import TuneOptions
from quantserve.benchmarks.tune.tuner import Engines
from quantserve.core.process import running
from quantserve.serving.profiles import Profile, load_profile
from tests.programs import ROOT
from tests.unit.benchmarks.tune.build import settings

START = settings(Profile.model_validate({"description": "x", "device": "cpu"}))


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_engines_stay_up_make_room_and_all_end(tmp_path: Path) -> None:
    @contextlib.contextmanager
    def start(profile: Path) -> Iterator[Server]:
        ready = tmp_path / f"{profile.stem}.json"
        argv = [sys.executable, "-m", "tests.integration.benchmarks.tune_engine", str(profile), str(ready)]
        with measurable(), running(argv, tmp_path / f"{profile.stem}.log", ready.is_file) as process:
            state = json.loads(ready.read_text())
            yield Server(state["base_url"], state["model"], (process.pid,))

    with Engines(start, START, capacity=2) as engines:
        first, second = engines.get({"max_sequences": 1000}), engines.get({"max_sequences": 2000})
        assert engines.get({"max_sequences": 1000}) == first
        engines.needed_soon({"max_sequences": 1000})
        third = engines.get({"max_sequences": 4000})
        assert not psutil.pid_exists(second.pids[0])  # asked for longest ago
        assert engines.get({"max_sequences": 1000}) == first
        with pytest.raises(ServerNotStarted, match="no room for the cache"):
            engines.get({"chunked_prefill": False})
        first = engines.get({"max_sequences": 1000})
        tokens = scoring(TuneOptions(load="closed:2", requests=12))(first, 3)
        good = scoring(TuneOptions(load="closed:2", requests=12, slo="ttft=5s"))(first, 3)
        pids = [first.pids[0], third.pids[0]]
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert tokens > good > 0  # an answer has many tokens


def test_a_failed_request_scores_nothing() -> None:
    figures = {"failed": 0, "output_tps": 90.0, "goodput_ps": 3.0}
    assert score_of(figures, Slo()) == 90.0
    assert score_of(figures, Slo(ttft_s=5.0)) == 3.0
    assert score_of({**figures, "failed": 1}, Slo()) == 0.0
    assert score_of({**figures, "goodput_ps": None}, Slo(ttft_s=5.0)) == 0.0


LAUNCHER = """#!/bin/sh
# PYTHON -m quantserve.serving plan …    or    PYTHON -m quantserve.serving serve … --ready-file FILE …
echo "$@" >> "{log}"
if [ "$3" = plan ]; then cat "{plan}"; exit; fi
for word in "$@"; do
  [ "$last" = --profile ] && profile="$word"
  [ "$last" = --ready-file ] && ready="$word"
  last="$word"
done
exec {python} -m tests.integration.benchmarks.tune_engine "$profile" "$ready"
"""


def planned(folder: Path, **more: Any) -> dict[str, Any]:
    start = settings(load_profile("cpu").model_copy(update={"max_sequences": 512}))
    return {
        **{"model": "m", "version": None, "profile": "cpu", "task": "generate"},
        "argv": ["python", "--model", str(folder / "model")],
        "profile_settings": {"own": start.own, "values": dict(start.values)},
        "machine": {"identity": "i", "words": "a CPU, 1 cores, 0 GPUs", "processors": [0], "cores": 1},
        **more,
    }


def tune(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    launcher = folder / "environments/serving/bin/python"
    launcher.parent.mkdir(parents=True)
    plan = folder / "plan.json"
    plan.write_text(json.dumps(planned(folder)))
    launcher.write_text(LAUNCHER.format(log=folder / "calls", plan=plan, python=sys.executable))
    launcher.chmod(0o755)
    argv = [sys.executable, "-m", "quantserve.benchmarks", "tune", str(folder / "model"), *words]
    argv += ["--run-dir", str(folder / "run")]
    env = {**os.environ, "QUANTSERVE_ENVIRONMENTS": str(launcher.parents[2])}
    return subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False, env=env)


def test_what_wins_is_written_as_a_profile_with_its_evidence(tmp_path: Path) -> None:
    """The fake is as fast as its number of sequences; without chunked prefill it does not start."""
    words = ["--only", "max-sequences", "--only", "chunked", "--load", "closed:2", "--requests", "10"]
    words += ["--workload", "synthetic:prompt=8,output=12", "--out", str(tmp_path / "t.yaml")]
    done = tune(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    tuned = load_profile(str(tmp_path / "t.yaml"))
    evidence = json.loads((tmp_path / "t.evidence.json").read_text())
    assert (evidence["workload"], evidence["machine"]) == (
        "synthetic:prompt=8,output=12",
        "a CPU, 1 cores, 0 GPUs",
    )
    assert last["changes"] == evidence["changes"]
    assert tuned.max_sequences == last["changes"].get("max_sequences", 512)
    notes = [one["note"] for one in evidence["tried"] if one["candidate"].get("chunked_prefill") is False]
    assert notes == [
        "does not start: it ended with code 1 before it was ready: "
        "the engine ended with code 1 while starting: no room for the cache"
    ]
    assert not (tmp_path / "t.journal.jsonl").exists()
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[0].startswith("-m quantserve.serving plan")
    assert all(f"serve {tmp_path / 'model'} --port 0 --private" in call for call in calls[1:])


def test_a_target_that_serving_refuses_is_its_own_line_and_exit_code(tmp_path: Path) -> None:
    (tmp_path / "environments/serving/bin").mkdir(parents=True)
    launcher = tmp_path / "environments/serving/bin/python"
    launcher.write_text("#!/bin/sh\necho 'serving: there is no such directory' >&2; exit 2\n")
    launcher.chmod(0o755)
    env = {**os.environ, "QUANTSERVE_ENVIRONMENTS": str(tmp_path / "environments")}
    argv = [sys.executable, "-m", "quantserve.benchmarks", "tune", "nowhere", "--run-dir", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=env)
    assert (done.returncode, done.stderr) == (2, "benchmarks: there is no such directory\n")


def test_the_old_name_says_the_new_one() -> None:
    argv = [
        sys.executable,
        "-m",
        "quantserve.serving",
        "tune",
        "models/x",
        "--slo",
        "ttft=2s",
        "--minutes",
        "3",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    expected = "serving: tuning is a benchmark. Use quantserve benchmarks tune TARGET\n"
    assert (done.returncode, done.stderr) == (2, expected)
