from __future__ import annotations

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from quantserve.core.machine import this_machine
from quantserve.serving.hardware import load_or_probe
from quantserve.serving.hardware.facts import GemmSpeed, Hardware, from_json
from quantserve.serving.hardware.instructions import probe_instructions
from quantserve.serving.hardware.probe import isa_caps
from quantserve.serving.hardware.system import format_id_list, parse_id_list, read_cpu, read_memory
from quantserve.serving.hardware.trial import Outcome, in_child
from tests.unit.serving.machines import AMD, CPU, H100


def raise_sigill() -> int:
    os.kill(os.getpid(), signal.SIGILL)
    return 0


def raise_error() -> int:
    raise ValueError("no such thing")


def sleep_long() -> int:
    time.sleep(60)
    return 0


def test_child_that_dies_by_sigill_is_an_answer() -> None:
    assert in_child(raise_sigill) == Outcome(failure="SIGILL")


def test_child_that_executes_an_undefined_instruction_is_an_answer() -> None:
    # ud2 is undefined on every x86 processor, advertised here as if it were AVX2.
    from quantserve.serving.hardware import instructions

    outcome = in_child(lambda: instructions._execute(bytes.fromhex("0f0bc3"), amx=False))
    assert outcome == Outcome(failure="SIGILL")


def test_childs_result_comes_back() -> None:
    assert in_child(lambda: {"a": [1, 2.5]}) == Outcome(value={"a": [1, 2.5]})


def test_childs_exception_comes_back() -> None:
    assert in_child(raise_error) == Outcome(failure="ValueError: no such thing")


def test_child_that_hangs_is_ended() -> None:
    start = time.monotonic()
    assert in_child(sleep_long, timeout_s=0.2) == Outcome(failure="timeout")
    assert time.monotonic() - start < 5


def test_instruction_sets_that_are_not_advertised_are_not_tried() -> None:
    assert all(item.executes is None and not item.lies for item in probe_instructions(frozenset()))


def test_advertised_instruction_sets_are_tried() -> None:
    found = [item for item in probe_instructions(this_machine().flags) if item.advertised]
    assert all(item.executes is not None for item in found)


@pytest.mark.parametrize(
    ("flags", "caps"),
    [
        ({"avx512f"}, ["-"]),
        ({"amx_tile", "avx512_fp16"}, ["-", "AVX512_CORE_FP16"]),
        ({"amx_tile"}, ["-", "AVX512_CORE_BF16"]),
    ],
)
def test_a_cap_is_tried_only_below_amx(flags: set[str], caps: list[str]) -> None:
    assert isa_caps(frozenset(flags)) == caps


def test_speed_is_the_geometric_mean_of_the_batched_shapes() -> None:
    assert GemmSpeed("float32", None, {"1": 1000.0, "32": 2.0, "512": 8.0}).speed == pytest.approx(4.0)


def test_dead_format_has_no_speed() -> None:
    assert GemmSpeed("float32", None, None, "SIGILL").speed == 0.0


@pytest.mark.parametrize(("text", "ids"), [("0-3,8", (0, 1, 2, 3, 8)), ("5", (5,)), ("\n", ())])
def test_id_lists_are_expanded(text: str, ids: tuple[int, ...]) -> None:
    assert parse_id_list(text) == ids


@pytest.mark.parametrize(("ids", "text"), [((0, 1, 2, 8), "0-2,8"), ((3,), "3"), ((9, 11, 10), "9-11")])
def test_id_lists_are_compressed(ids: tuple[int, ...], text: str) -> None:
    assert format_id_list(ids) == text


@pytest.mark.parametrize(
    ("nodes", "quota", "parts", "expected"),
    [
        (((0, 1),), None, 2, ((0,), (1,))),
        (((0, 1, 2, 3, 4),), None, 2, ((0, 1, 2), (3, 4))),  # none is left idle
        (((4, 5, 8, 9),), None, 4, ((4,), (5,), (8,), (9,))),
        (((0, 1),), None, 3, ((0,), (1,), (0,))),
        (((0, 2, 4, 6), (1, 3, 5, 7)), None, 2, ((0, 2, 4, 6), (1, 3, 5, 7))),
        (((0, 1, 2, 3),), 2.5, 2, ((0,), (1,))),  # two can be kept busy
    ],
)
def test_processors_are_shared_out(
    nodes: tuple[tuple[int, ...], ...],
    quota: float | None,
    parts: int,
    expected: tuple[tuple[int, ...], ...],
) -> None:
    usable = tuple(sorted(cpu for node in nodes for cpu in node))
    cpu = replace(CPU, usable=usable, numa_nodes=nodes, quota_cores=quota)
    assert cpu.shared_out(parts) == expected


def test_this_machines_processors_and_memory_are_plausible() -> None:
    assert read_cpu().usable == tuple(sorted(os.sched_getaffinity(0)))
    memory = read_memory()
    assert 0 < memory.available_bytes <= memory.total_bytes


@pytest.mark.parametrize("hardware", [AMD, H100])
def test_hardware_survives_its_file(hardware: object) -> None:
    data = json.loads(json.dumps(hardware.to_json()))  # type: ignore[attr-defined]
    assert from_json(data) == hardware


def test_cache_of_this_machine_is_used_and_of_another_is_not(tmp_path: Path) -> None:
    cache = tmp_path / "hardware.json"
    cache.write_text(json.dumps(AMD.to_json()), encoding="utf-8")
    fresh = replace(AMD, identity="fresh")
    assert load_or_probe(cache, measure=lambda: fresh, identify=lambda: "amd") == AMD
    assert load_or_probe(cache, measure=lambda: fresh, identify=lambda: "another") == fresh
    assert json.loads(cache.read_text(encoding="utf-8"))["identity"] == "fresh"


def test_refresh_probes_again(tmp_path: Path) -> None:
    cache = tmp_path / "hardware.json"
    cache.write_text(json.dumps(AMD.to_json()), encoding="utf-8")
    fresh = replace(AMD, probe_s=99.0)
    assert load_or_probe(cache, refresh=True, measure=lambda: fresh, identify=lambda: "amd") == fresh


def test_two_that_want_a_probe_make_one(tmp_path: Path) -> None:
    made: list[int] = []

    def slowly() -> Hardware:
        made.append(1)
        time.sleep(0.2)
        return AMD

    def load(_: int) -> Hardware:
        return load_or_probe(tmp_path / "hardware.json", measure=slowly, identify=lambda: "amd")

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(load, range(2))) == [AMD, AMD]
    assert made == [1]


@pytest.mark.parametrize("content", ["", "{}", "[1]", "not json", '{"cpu": 3}'])
def test_damaged_cache_is_replaced(tmp_path: Path, content: str) -> None:
    cache = tmp_path / "hardware.json"
    cache.write_text(content, encoding="utf-8")
    assert load_or_probe(cache, measure=lambda: AMD) == AMD
    assert json.loads(cache.read_text(encoding="utf-8"))["identity"] == "amd"
