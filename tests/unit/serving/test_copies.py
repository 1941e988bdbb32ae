"""Several copies of the model in one server (data_parallel): processors, memory, GPUs, what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quantserve.serving import forking
from quantserve.serving.command import Plan, make_plan
from quantserve.serving.errors import HardwareError, NotEnoughMemory
from quantserve.serving.profiles import load_profile
from tests.unit.serving.machines import AMD, GIB, H100_BYTES, LLAMA_70B_AWQ, SMOLLM2, inputs, with_gpus

EIGHT = replace(AMD, cpu=replace(AMD.cpu, usable=tuple(range(8)), numa_nodes=((0, 2, 4, 6), (1, 3, 5, 7))))


def values(plan: Plan) -> dict[str, str | None]:
    return {item.name: item.value for item in (*plan.flags, *plan.environment)}


def test_each_copy_gets_its_processors_its_cache_and_its_share_of_the_requests() -> None:
    one, two = (make_plan(inputs(AMD, wishes={"data_parallel": n})) for n in (1, 2))
    found = values(two)
    assert "--data-parallel-size" not in values(one)
    assert found["--data-parallel-size"] == "2"
    assert found["VLLM_CPU_OMP_THREADS_BIND"] == "0|1"
    assert found["--distributed-executor-backend"] == forking.ONE_PROCESS
    assert int(found["--max-num-seqs"] or 0) * 2 == int(values(one)["--max-num-seqs"] or 0)
    assert int(found["--kv-cache-memory-bytes"] or 0) * 2 == int(values(one)["--kv-cache-memory-bytes"] or 0)
    assert (two.copies, two.kv_tokens) == (2, one.kv_tokens)


def test_copies_lie_within_a_numa_node_where_their_number_allows() -> None:
    plan = make_plan(inputs(EIGHT, wishes={"data_parallel": 4}))
    assert values(plan)["VLLM_CPU_OMP_THREADS_BIND"] == "0,2|4,6|1,3|5,7"
    assert forking.processors(plan.env()) == [(0, 2), (4, 6), (1, 3), (5, 7)]


def test_the_weights_are_there_once_for_each_copy() -> None:
    heavy = replace(SMOLLM2, weight_bytes=6 * GIB)
    make_plan(inputs(AMD, facts=heavy))
    with pytest.raises(NotEnoughMemory, match="4 copies of it, weights 24"):
        make_plan(inputs(EIGHT, facts=heavy, wishes={"data_parallel": 4}))


@pytest.mark.parametrize(
    ("wishes", "says"),
    [
        ({"data_parallel": 3}, "3 copies of the model do not go onto 2 processors. Set data_parallel to 2"),
        ({"data_parallel": 2, "tensor_parallel": 3}, "not split further on a CPU"),
        (
            {"data_parallel": 2, "environment": {"VLLM_CPU_OMP_THREADS_BIND": "0-1"}},
            "names the processors of 1 engines, data_parallel wants 2",
        ),
    ],
)
def test_what_a_processor_cannot_do_is_refused(wishes: dict[str, object], says: str) -> None:
    with pytest.raises(HardwareError, match=says):
        make_plan(inputs(AMD, wishes=wishes))


def test_gpus_are_shared_out_among_the_copies() -> None:
    four = with_gpus(4, (9, 0), H100_BYTES)
    plan = make_plan(inputs(four, "multi-gpu", facts=LLAMA_70B_AWQ, wishes={"data_parallel": 2}))
    assert values(plan)["--data-parallel-size"] == "2"
    assert values(plan)["--tensor-parallel-size"] == "2"
    with pytest.raises(HardwareError, match="5 copies of the model do not go onto 4 GPUs"):
        make_plan(inputs(four, "multi-gpu", facts=LLAMA_70B_AWQ, wishes={"data_parallel": 5}))


def test_free_gpus_are_counted_with_all_copies() -> None:
    eight = with_gpus(8, (9, 0), H100_BYTES)
    plan = make_plan(inputs(eight, "70b-awq", facts=LLAMA_70B_AWQ, wishes={"data_parallel": 2}))
    assert any("6 of 8 GPUs stay free" in warning for warning in plan.warnings)


def test_copies_stay_on_one_machine() -> None:
    four = with_gpus(4, (9, 0), H100_BYTES)
    with pytest.raises(HardwareError, match="kept on one machine"):
        make_plan(inputs(four, "multi-gpu", facts=LLAMA_70B_AWQ, wishes={"data_parallel": 2, "nodes": 2}))


def test_the_throughput_profile_is_the_compiled_one_twice() -> None:
    ours, compiled = load_profile("cpu-throughput"), load_profile("cpu-compiled")
    changed = {"data_parallel": 2, "description": ours.description}
    assert ours.model_dump() == {**compiled.model_dump(), **changed}
