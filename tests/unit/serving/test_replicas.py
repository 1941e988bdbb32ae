from __future__ import annotations

from pathlib import Path

import pytest

from quantserve.core.errors import UsageError
from quantserve.serving.background import can_roll, serve_argv
from quantserve.serving.config import RunDirectory, ServeOptions
from quantserve.serving.errors import HardwareError
from quantserve.serving.prepare import request_of
from quantserve.serving.replicas.fitting import Lane, gpu_lanes, visible_gpus
from quantserve.serving.replicas.metrics import merge
from quantserve.serving.replicas.replica import guard_settings
from quantserve.serving.replicas.rolling import spare_lane
from quantserve.serving.state import ServerState
from quantserve.serving.supervise.restarts import pause_s
from tests.unit.serving.states import state


def test_gpus_are_divided_and_what_is_left_is_spare() -> None:
    lanes = gpu_lanes(("0", "1", "2", "3", "4", "5", "6"), each=2, replicas=2)
    assert [lane.gpus for lane in lanes] == [("0", "1"), ("2", "3"), ("4", "5")]


def test_too_few_gpus_are_refused_with_figures() -> None:
    with pytest.raises(HardwareError, match="4 replicas of 2 GPUs each need 8, 7 are here") as caught:
        gpu_lanes(tuple("0123456"), each=2, replicas=4)
    assert caught.value.mend == "Use --replicas 3"


@pytest.mark.parametrize(
    ("count", "variable", "expected"),
    [
        (2, None, ("0", "1")),
        (2, "3,5", ("3", "5")),
        (2, "GPU-aa, GPU-bb", ("GPU-aa", "GPU-bb")),
        (0, None, ()),
    ],
)
def test_gpus_keep_the_names_they_are_given(
    count: int, variable: str | None, expected: tuple[str, ...]
) -> None:
    assert visible_gpus(count, variable) == expected


_A, _B, _C = Lane(cpus=(0,)), Lane(cpus=(1,)), Lane(gpus=("2",))


@pytest.mark.parametrize(
    ("lanes", "used", "old", "room", "expected"),
    [
        ((_A, _B), [_A, _B], _A, True, _A),  # shares the processors for a while
        ((_A, _B), [_A, _B], _A, False, None),  # no memory: the old one ends first
        ((_C, Lane(gpus=("3",))), [_C], _C, False, Lane(gpus=("3",))),  # a spare GPU
        ((_C,), [_C], _C, True, None),  # a GPU is never shared
    ],
)
def test_where_a_new_replica_may_run(
    lanes: tuple[Lane, ...], used: list[Lane], old: Lane, room: bool, expected: Lane | None
) -> None:
    assert spare_lane(lanes, used, old, room=room) == expected


def test_metrics_are_joined_family_by_family() -> None:
    one = '# HELP a Help\n# TYPE a counter\na{x="1"} 2.0\n# TYPE b gauge\nb 3.0\n'
    two = '# HELP a Help\n# TYPE a counter\na{x="1"} 5.0\n'
    assert merge({"1": one, "2": two}).splitlines() == [
        "# HELP a Help",
        "# TYPE a counter",
        'a{replica="1",x="1"} 2.0',
        'a{replica="2",x="1"} 5.0',
        "# TYPE b gauge",
        'b{replica="1"} 3.0',
    ]


def test_pauses_double_up_to_a_bound() -> None:
    assert [pause_s(n, 0.2, 1.0) for n in (0, 1, 2, 3, 1000)] == [0.2, 0.4, 0.8, 1.0, 1.0]


def test_metrics_of_a_replica_are_as_open_as_the_public_port() -> None:
    assert guard_settings({}, 1, "127.0.0.1")["metrics_open"] is True
    assert guard_settings({}, 1, "0.0.0.0")["metrics_open"] is False


def test_replicas_share_neither_audit_log_nor_metrics_port() -> None:
    audit = {"file": "/var/log/audit.jsonl", "files": 3}
    assert guard_settings({"audit": audit}, 2, "127.0.0.1")["audit"] == {
        "file": "/var/log/audit-replica-2.jsonl",
        "files": 3,
    }
    with pytest.raises(UsageError, match="metrics_port"):
        guard_settings({"metrics_port": 9000}, 1, "127.0.0.1")


def state_of(target: Path, options: ServeOptions, replicas: int) -> ServerState:
    running = [{"replica": number} for number in range(replicas)]
    return state(target=str(target), request=request_of(target, options), replicas=running)


def test_up_replaces_replicas_one_by_one_when_only_the_target_differs(tmp_path: Path) -> None:
    options = ServeOptions(replicas=2)
    running = state_of(tmp_path / "v1", options, 2)
    assert can_roll(running, tmp_path / "v2", options)
    assert not can_roll(running, tmp_path / "v2", ServeOptions(replicas=3))
    assert not can_roll(running, tmp_path / "v2", ServeOptions(replicas=2, profile="cpu"))
    assert not can_roll(state_of(tmp_path / "v1", options, 0), tmp_path / "v2", options)


def test_background_command_carries_the_number_of_replicas(tmp_path: Path) -> None:
    words = serve_argv(
        tmp_path, ServeOptions(replicas=3, vllm_args=("--seed", "1")), RunDirectory(tmp_path), 9
    )
    assert words[-7:] == ["--replicas", "3", "--policy", "least_running", "--", "--seed", "1"]
