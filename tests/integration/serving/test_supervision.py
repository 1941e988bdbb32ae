"""An engine that dies, hangs or is stopped under load; the tests of one launcher run in this order."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.integration.serving.conftest import wait_for
from tests.integration.serving.launched import Caller, Launched


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    directory = tmp_path_factory.mktemp("supervised")
    (directory / "hold").touch()
    started = Launched(directory)
    try:
        early = started.ask()  # before there is an engine
        assert (early.status_code, early.json()["error"]["code"]) == (503, "starting")
        started.hold.unlink()
        started.wait_until_ready()
        yield started
    finally:
        started.close()


def serves_again(launched: Launched, restarts: int) -> bool:
    return wait_for(lambda: launched.state["restarts"] == restarts and launched.ask().status_code == 200, 30)


def test_what_the_launcher_knows_is_among_the_engines_metrics(launched: Launched) -> None:
    assert wait_for(lambda: launched.metric("quantserve_decode_probe_success") == 1, 10)
    text = launched.get("/metrics").text
    assert "vllm:generation_tokens_total" in text
    info = next(line for line in text.splitlines() if line.startswith("quantserve_artifact_info{"))
    assert {'name="fake"', 'version="v1"', 'method="awq"', 'bits="4"'} <= set(
        info.partition("{")[2].partition("}")[0].split(",")
    )
    assert launched.metric("quantserve_engine_restarts_total") == 0
    assert launched.metric("quantserve_startup_seconds") == pytest.approx(launched.state["ready_s"], abs=3)
    assert (launched.metric("quantserve_decode_probe_seconds") or 0) > 0


def test_probes_are_no_decisions_and_take_no_slot(launched: Launched) -> None:
    probed_at = launched.metric("quantserve_decode_probe_timestamp_seconds")
    assert wait_for(lambda: launched.metric("quantserve_decode_probe_timestamp_seconds") != probed_at, 10)
    decisions = 'quantserve_guard_decisions_total{decision="admitted",endpoint="completions"}'
    assert decisions not in launched.get("/metrics").text
    assert launched.ask().status_code == 200
    assert f"{decisions} 1.0" in launched.get("/metrics").text


def test_engine_killed_during_streams_is_replaced_and_clients_are_told(launched: Launched) -> None:
    streams = [launched.stream(words=100_000) for _ in range(4)]
    engine = psutil.Process(launched.state["engine_pid"])
    family = [engine, *engine.children(recursive=True)]
    caller = Caller(launched.ask)
    assert wait_for(lambda: len(caller.statuses) > 5, 20)
    launched.hold.touch()
    engine.kill()
    assert not any(stream.finished() for stream in streams)
    refused = launched.ask()
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["error"] == {
        "message": "the engine has died and is being started again",
        "type": "server_error",
        "param": None,
        "code": "restarting",
    }
    assert launched.get("/health").status_code == 503
    assert launched.metric("quantserve_serving") == 0
    assert not launched.ready_file.exists()
    assert launched.state["status"] == "restarting"
    launched.hold.unlink()
    assert serves_again(launched, 1)
    caller.stop()
    assert set(caller.statuses) == {200, 503}
    assert len(caller.errors) <= 1  # the one request that was under way when the engine was killed
    assert launched.metric("quantserve_engine_restarts_total") == 1
    assert launched.state["last_failure"].startswith("the engine was killed by SIGKILL")
    assert not any(process.is_running() for process in family)


def test_dead_core_under_a_living_server_is_503_and_its_engine_is_replaced(launched: Launched) -> None:
    answer = launched.ask("core dies")  # the app itself answers 500
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "restarting")
    assert int(answer.headers["retry-after"]) >= 1
    assert serves_again(launched, 2)
    assert "takes no requests any more" in launched.state["last_failure"]


def test_restarts_beyond_the_limit_end_the_launcher(launched: Launched) -> None:
    family = launched.family()
    with pytest.raises(httpx.HTTPError):
        launched.ask("leave")
    code, line = launched.outcome()
    assert code == 1
    assert "the engine ended with code 3" in line
    assert "2 restarts within 600 s did not help" in line
    assert not any(process.is_running() for process in family)
    assert not launched.state_file.exists()


def test_engine_that_brings_no_token_is_replaced_but_a_busy_one_is_not(tmp_path: Path) -> None:
    launched = Launched(tmp_path, "--drain-s", "0.5")
    try:
        launched.wait_until_ready()
        engine = launched.state["engine_pid"]
        others = launched.stream_in_background("busy")
        assert wait_for(lambda: launched.failed_probes() >= 3, 30)  # 2 would do, were nobody served
        assert launched.state["engine_pid"] == engine
        psutil.Process(engine).suspend()
        assert serves_again(launched, 1)
        assert "hangs: 2 probes brought no token" in launched.state["last_failure"]
        assert not others.finished()

        stuck = launched.stream_in_background("hang")
        assert wait_for(lambda: launched.metric("quantserve_guard_sequences") == 1, 10)
        launched.process.send_signal(signal.SIGTERM)
        code, line = launched.outcome()
        assert (code, "requests still ran after 0.5 s and were cut off" in line) == (0, True)
        assert not stuck.finished()
    finally:
        launched.close()


def test_one_copy_of_several_that_brings_no_token_is_found_while_the_others_serve(tmp_path: Path) -> None:
    launched = Launched(tmp_path, "--copies", "2")
    try:
        launched.wait_until_ready()
        others = Caller(launched.ask)  # they go to the first copy
        launched.hang(1)
        assert wait_for(lambda: launched.state["restarts"] == 1, 30)
        told = "copy 1 of the engine hangs: 2 probes brought no token"
        assert wait_for(lambda: told in launched.state["last_failure"], 10), launched.state["last_failure"]
        assert serves_again(launched, 1)
        others.stop()
        assert set(others.statuses) <= {200, 503}
    finally:
        launched.close()


def test_stop_under_load_finishes_streams_and_refuses_new_requests(tmp_path: Path) -> None:
    launched = Launched(tmp_path)
    try:
        launched.wait_until_ready()
        with httpx.Client(trust_env=False) as kept_alive:
            assert launched.ask(client=kept_alive).status_code == 200
            launched.hold.touch()
            streams = [launched.stream("hold", words=5) for _ in range(4)]
            caller = Caller(launched.ask)
            launched.process.send_signal(signal.SIGTERM)
            assert wait_for(lambda: launched.get("/health").status_code == 503, 10)
            for refused in (launched.ask(client=kept_alive), launched.ask()):
                assert (refused.status_code, refused.json()["error"]["code"]) == (503, "stopping")
                assert refused.headers["retry-after"] == "5"
            assert launched.state["status"] == "stopping"
            caller.stop()
            launched.hold.unlink()
        assert caller.errors == []
        assert all(stream.finished() for stream in streams)
        assert [len(stream.lines) for stream in streams] == [6] * 4
        assert launched.outcome()[0] == 0
    finally:
        launched.close()
