from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from quantserve.core.errors import UsageError
from quantserve.serving.commands.parameters import serve_options
from quantserve.serving.config import PART_RESTARTS, RestartOptions
from quantserve.serving.guard.launcher_line import Facts, Line, Phase, unavailable
from quantserve.serving.guard.metrics import FactsCollector
from quantserve.serving.guard.settings import Artifact
from quantserve.serving.supervise.engine import Engine
from quantserve.serving.supervise.hang import Round, failures_in_a_row, work_done
from quantserve.serving.supervise.restarts import Restarts, delay_s, recent

OPTIONS = RestartOptions(limit=4, window_s=100.0, first_delay_s=1.0, longest_delay_s=5.0)


@pytest.mark.parametrize(
    ("restarts", "now", "delay"),
    [
        ([], 0.0, 1.0),
        ([0.0], 10.0, 2.0),
        ([0.0, 10.0], 20.0, 4.0),
        ([0.0, 10.0, 20.0], 30.0, 5.0),  # never longer than the longest
        ([0.0, 10.0, 20.0, 30.0], 40.0, None),
        ([0.0, 10.0, 20.0, 30.0], 105.0, 5.0),  # the first is out of the window
        ([0.0, 10.0, 20.0, 30.0], 200.0, 1.0),  # all are: begin anew
    ],
)
def test_delay_doubles_within_the_window_until_the_limit(
    restarts: list[float], now: float, delay: float | None
) -> None:
    assert delay_s(restarts, now, OPTIONS) == delay


def test_recent_restarts_are_those_within_the_window() -> None:
    assert recent([0.0, 50.0, 90.0], 101.0, OPTIONS) == 2


def test_limit_of_zero_allows_none() -> None:
    assert delay_s([], 0.0, RestartOptions(limit=0)) is None


def test_engine_is_given_up_after_the_limit_and_again_restarted_when_the_window_has_passed() -> None:
    restarts = Restarts(OPTIONS)
    assert [restarts.next_delay_s(float(now), ran_s=1.0) for now in range(5)] == [1.0, 2.0, 4.0, 5.0, None]
    assert restarts.count(4.0) == 4
    assert restarts.next_delay_s(101.5, ran_s=97.0) == 4.0  # two of the four are out of the window


def test_router_and_replicas_are_never_given_up_and_running_steadily_begins_anew() -> None:
    restarts = Restarts(PART_RESTARTS)
    delays = [restarts.next_delay_s(1000.0 * number, ran_s=1.0) for number in range(10)]
    assert delays == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]
    assert restarts.count(1e9) == 10
    assert restarts.next_delay_s(1e9, ran_s=61.0) == 0.2
    assert restarts.count(1e9) == 1


@pytest.mark.parametrize(
    ("came", "before", "after", "failures"),
    [
        (True, 5.0, 5.0, 0),
        (False, 5.0, 6.0, 0),  # others got tokens: busy, not dead
        (False, 5.0, 5.0, 3),
        (False, None, 6.0, 3),  # unknown is no sign of life
        (False, 5.0, None, 3),
    ],
)
def test_round_without_a_token_counts_unless_others_were_served(
    came: bool, before: float | None, after: float | None, failures: int
) -> None:
    assert failures_in_a_row(2, Round(came, before, after)) == failures


def test_work_is_every_token_and_every_step() -> None:
    text = """\
# TYPE vllm:generation_tokens counter
vllm:generation_tokens_total{engine="0"} 10.0
vllm:generation_tokens_total{engine="1"} 20.0
# TYPE vllm:iteration_tokens_total histogram
vllm:iteration_tokens_total_bucket{engine="0",le="1.0"} 7.0
vllm:iteration_tokens_total_count{engine="0"} 3.0
vllm:iteration_tokens_total_sum{engine="0"} 99.0
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0"} 4.0
"""
    assert work_done(text) == 13.0
    assert work_done(text, engine=1) == 20.0
    assert work_done(text, engine=2) is None
    assert work_done("") is None


def test_facts_cross_the_line_whole_and_in_order() -> None:
    ours, theirs = socket.socketpair()
    launcher, engine = Line(ours), Line(theirs)
    first, second = Facts(), Facts("serving", 2, 11.5, True, 0.02, 1_700_000_000.5, 12)
    launcher.tell(first)
    launcher.tell(second)
    assert [Facts.from_line(line) for line in engine.lines()] == [first, second]
    engine.say("drained")
    assert launcher.lines() == [b"drained"]
    assert launcher.lines() == []
    launcher.close()
    assert (engine.lines(), engine.ended) == ([], True)
    engine.say("nobody listens")  # and nothing is raised
    engine.close()


@pytest.mark.parametrize(
    ("phase", "reason"),
    [
        ("starting", "starting"),
        ("restarting", "restarting"),
        ("stopping", "stopping"),
        ("serving", "restarting"),
    ],
)
def test_refusal_says_why_and_when_to_come_back(phase: Phase, reason: str) -> None:
    refusal = unavailable(Facts(phase=phase, retry_after_s=7))
    assert (refusal.status, refusal.code) == (503, reason)
    assert dict(refusal.headers())[b"retry-after"] == b"7"
    assert dict(refusal.headers())[b"connection"] == b"close"


def test_metrics_leave_out_what_is_not_known_yet() -> None:
    artifact = Artifact(name="m", version=None, method=None, bits=None, sha256=None)
    names = [metric.name for metric in FactsCollector(Facts, artifact).collect()]
    assert names == ["quantserve_artifact", "quantserve_engine_restarts", "quantserve_serving"]


def test_engine_makes_nothing_that_others_can_use(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "import os; print(oct(os.umask(0)))"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        engine = Engine(words, {}, tmp_path / "log", listener)
        assert engine.wait(60) == 0
    assert (tmp_path / "log").read_text() == "0o77\n"


@pytest.mark.parametrize("word", ["--port", "--host=0.0.0.0", "--uds"])
def test_address_given_to_vllm_is_refused_since_the_launcher_listens(word: str) -> None:
    with pytest.raises(UsageError, match="before the --"):
        serve_options("127.0.0.1", 0, None, None, False, [word, "1"])


SIGNALS = """
import signal, sys, time
from quantserve.serving.supervise.signals import StopAsked, StopSignals
signals = StopSignals(lambda: print("second", flush=True))
signals.install()
try:
    with signals.deferred():
        print("in", flush=True)
        sys.stdin.readline()
        print("out", flush=True)
    print("never")
except StopAsked as asked:
    signals.ending()
    print("stopped", asked.signum, flush=True)
    sys.stdin.readline()
"""


def test_signal_waits_for_the_end_of_a_deferred_block_and_a_second_does_not() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SIGNALS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        said = process.stdout.readline
        assert said() == "in\n"
        os.kill(process.pid, signal.SIGTERM)
        process.stdin.write("\n")
        process.stdin.flush()
        assert said() == "out\n"
        assert said() == f"stopped {int(signal.SIGTERM)}\n"
        os.kill(process.pid, signal.SIGTERM)
        assert said() == "second\n"
        process.stdin.close()
        assert process.wait(10) == 0
