"""Large models on made-up machines: how many GPUs, parts or stages, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from quantserve.serving.command import Plan, default_profile, make_plan
from quantserve.serving.errors import HardwareError, NotEnoughMemory
from quantserve.serving.hardware import Hardware
from quantserve.serving.model import ModelFacts
from tests.unit.serving.machines import (
    AMD,
    BROKEN_AMX,
    GIB,
    H100,
    H100_BYTES,
    LLAMA_70B,
    LLAMA_70B_AWQ,
    SMOLLM2,
    T4,
    WORKING_AMX,
    inputs,
    with_gpus,
)

HOPPER, ADA, AMPERE = (9, 0), (8, 9), (8, 0)


def hoppers(count: int, *, peers: bool = True) -> Hardware:
    return with_gpus(count, HOPPER, H100_BYTES, peers=peers)


def values(plan: Plan) -> dict[str, str | None]:
    return {item.name: item.value for item in (*plan.flags, *plan.notes)}


def shape(plan: Plan) -> tuple[int, int]:
    found = values(plan)
    return int(found.get("--tensor-parallel-size") or 1), int(found.get("--pipeline-parallel-size") or 1)


@pytest.mark.parametrize(
    ("facts", "hardware", "tensor", "pipeline"),
    [
        (LLAMA_70B_AWQ, hoppers(1), 1, 1),  # one 80 GB in 4 bit
        (LLAMA_70B, hoppers(2), 2, 1),  # two 80 GB in 16 bit
        (LLAMA_70B_AWQ, hoppers(2), 1, 1),  # the second would stay idle in each step
        (LLAMA_70B, hoppers(8), 2, 1),
        (LLAMA_70B, hoppers(2, peers=False), 1, 2),  # stages where the GPUs do not reach each other
        (LLAMA_70B, with_gpus(4, AMPERE, 48 * GIB), 4, 1),
    ],
)
def test_70b_takes_as_few_gpus_as_it_needs(
    facts: ModelFacts, hardware: Hardware, tensor: int, pipeline: int
) -> None:
    plan = make_plan(inputs(hardware, "70b-awq", facts=facts))
    assert shape(plan) == (tensor, pipeline)
    assert plan.kv is not None
    assert plan.kv.sequences >= 4


def test_70b_in_16_bit_on_one_gpu_is_refused_with_the_mend() -> None:
    with pytest.raises(NotEnoughMemory, match=r"weights 131\.4 GiB .* 1 × 74\.\d GiB usable.*METHOD=awq"):
        make_plan(inputs(hoppers(1), "70b-awq", facts=LLAMA_70B))


def test_70b_keeps_a_token_in_320_kib() -> None:
    plan = make_plan(inputs(hoppers(1), "70b-awq", facts=LLAMA_70B_AWQ))
    assert plan.kv is not None
    assert plan.kv.bytes_per_token == 327_680
    assert plan.max_model_length == 8192


def test_free_gpus_are_said() -> None:
    plan = make_plan(inputs(hoppers(8), "70b-awq", facts=LLAMA_70B))
    assert any("6 of 8 GPUs stay free" in warning for warning in plan.warnings)


@pytest.mark.parametrize(
    ("hardware", "wishes", "tensor", "pipeline"),
    [
        (hoppers(8), {}, 8, 1),
        (hoppers(8, peers=False), {}, 1, 8),
        (hoppers(6), {}, 2, 3),  # 64 heads go not into 6
        (hoppers(8), {"nodes": 2}, 8, 2),  # only stages cross the network
        (hoppers(4), {"tensor_parallel": 2, "pipeline_parallel": 2}, 2, 2),
    ],
)
def test_multi_gpu_uses_all(hardware: Hardware, wishes: dict[str, Any], tensor: int, pipeline: int) -> None:
    plan = make_plan(inputs(hardware, "multi-gpu", facts=LLAMA_70B, wishes=wishes))
    assert shape(plan) == (tensor, pipeline)


def test_several_machines_are_joined_by_ray() -> None:
    plan = make_plan(inputs(hoppers(8), "multi-gpu", facts=LLAMA_70B, wishes={"nodes": 2}))
    assert values(plan)["--distributed-executor-backend"] == "ray"
    assert any("ray start --head" in warning for warning in plan.warnings)
    one = make_plan(inputs(hoppers(8), "multi-gpu", facts=LLAMA_70B))
    assert "--distributed-executor-backend" not in values(one)


def test_more_machines_hold_what_one_cannot() -> None:
    with pytest.raises(NotEnoughMemory):
        make_plan(inputs(hoppers(1), "multi-gpu", facts=LLAMA_70B))
    assert shape(make_plan(inputs(hoppers(1), "multi-gpu", facts=LLAMA_70B, wishes={"nodes": 4}))) == (1, 4)


@pytest.mark.parametrize(("peers", "word"), [(True, "yes"), (False, "no")])
def test_peer_access_is_said(peers: bool, word: str) -> None:
    plan = make_plan(inputs(hoppers(2, peers=peers), "multi-gpu", facts=LLAMA_70B))
    assert values(plan)["P2P"] == word


def test_all_reduce_of_gpus_that_do_not_reach_each_other_goes_through_nccl() -> None:
    wishes = {"tensor_parallel": 2}
    apart = make_plan(inputs(hoppers(2, peers=False), "multi-gpu", facts=LLAMA_70B, wishes=wishes))
    together = make_plan(inputs(hoppers(2), "multi-gpu", facts=LLAMA_70B, wishes=wishes))
    assert "--disable-custom-all-reduce" in values(apart)
    assert "--disable-custom-all-reduce" not in values(together)


def test_user_decides_by_vllms_own_flag() -> None:
    options = {"vllm_args": ("--tensor-parallel-size", "4")}
    plan = make_plan(inputs(hoppers(8), "70b-awq", facts=LLAMA_70B, options=options))
    assert shape(plan) == (4, 1)
    assert [item.name for item in plan.flags].count("--tensor-parallel-size") == 1


@pytest.mark.parametrize(
    ("hardware", "facts", "backend"),
    [
        (H100, SMOLLM2, "FLASH_ATTN"),
        (T4, SMOLLM2, "TRITON_ATTN"),
        (with_gpus(1, (10, 0), H100_BYTES), SMOLLM2, "FLASHINFER"),
        (H100, replace(SMOLLM2, latent_width=576), None),
        (H100, replace(SMOLLM2, head_dim=512), None),
    ],
)
def test_attention_backend_follows_the_gpu(
    hardware: Hardware, facts: ModelFacts, backend: str | None
) -> None:
    found = values(make_plan(inputs(hardware, "gpu-latency", facts=facts)))
    assert found.get("--attention-backend") == backend
    assert (found.get("attention") == "vLLM's choice") is (backend is None)


@pytest.mark.parametrize(
    ("hardware", "options", "backend"),
    [
        (BROKEN_AMX, {}, "CPU_MLA"),
        (WORKING_AMX, {}, None),
        (WORKING_AMX, {"vllm_args": ("--dtype", "float32")}, "CPU_MLA"),
        (AMD, {}, None),
    ],
)
def test_latent_attention_takes_no_tiles_where_they_cannot_compute(
    hardware: Hardware, options: dict[str, Any], backend: str | None
) -> None:
    latent = replace(SMOLLM2, latent_width=576)
    plan = make_plan(inputs(hardware, facts=latent, options=options))
    assert values(plan).get("--attention-backend") == backend


@pytest.mark.parametrize(("capability", "backend"), [(ADA, "FLASHINFER"), (HOPPER, "FLASH_ATTN")])
def test_cache_in_eight_bits(capability: tuple[int, int], backend: str) -> None:
    kv = {"kv": {"dtype": "fp8"}}
    profile = inputs(H100).profile.model_validate({"description": "x", "device": "gpu", **kv})
    made = replace(inputs(with_gpus(1, capability, H100_BYTES), "gpu-latency"), profile=profile)
    plan = make_plan(made)
    assert values(plan)["--kv-cache-dtype"] == "fp8"
    assert values(plan)["--attention-backend"] == backend
    assert plan.kv is not None
    assert plan.kv.bytes_per_token == 11_520


def test_cache_in_eight_bits_is_refused_below_8_9() -> None:
    options = {"vllm_args": ("--kv-cache-dtype", "fp8")}
    with pytest.raises(HardwareError, match=r"8\.9, this GPU has 8\.0"):
        make_plan(inputs(with_gpus(1, AMPERE, H100_BYTES), "gpu-latency", options=options))


def test_default_profile_for_a_model_that_no_single_gpu_holds() -> None:
    assert default_profile(hoppers(2), LLAMA_70B) == "multi-gpu"
    assert default_profile(hoppers(2), SMOLLM2) == "gpu-throughput"
    assert default_profile(hoppers(1), LLAMA_70B) == "gpu-throughput"


TWO_NODES = replace(
    AMD, cpu=replace(AMD.cpu, usable=tuple(range(8)), numa_nodes=((0, 1, 2, 3), (4, 5, 6, 7)))
)
SIX_GIB = replace(SMOLLM2, attention_heads=8, kv_heads=4, weight_bytes=6 * GIB)


@pytest.mark.parametrize(
    ("facts", "workers", "binding"),
    [
        (SIX_GIB, 2, "0-3|4-7"),  # one worker on each node
        (SMOLLM2, 1, "0-3"),  # small: one node
        (replace(SIX_GIB, attention_heads=9, kv_heads=3), 1, "0-3"),  # 9 heads go not into 2
    ],
)
def test_workers_stay_beside_their_memory(facts: ModelFacts, workers: int, binding: str) -> None:
    plan = make_plan(inputs(TWO_NODES, facts=facts))
    assert shape(plan)[0] == workers
    assert plan.env()["VLLM_CPU_OMP_THREADS_BIND"] == binding


def test_each_worker_gets_its_share_of_the_cache() -> None:
    one = make_plan(inputs(AMD, facts=SIX_GIB))
    two = make_plan(inputs(TWO_NODES, facts=SIX_GIB))
    assert one.kv is not None
    assert two.kv is not None
    assert two.kv.tokens == one.kv.tokens
    assert two.kv.size_bytes * 2 == one.kv.size_bytes


def test_heads_the_cpu_kernel_does_not_know_are_refused() -> None:
    with pytest.raises(HardwareError, match="heads of 48 numbers"):
        make_plan(inputs(AMD, facts=replace(SMOLLM2, head_dim=48)))


LONG = replace(SMOLLM2, max_length=131_072)  # 2.8 GiB of cache for one full request


def test_length_is_halved_until_a_request_fits() -> None:
    # 3.6 GiB free less weights 0.25, engine 1.6 and a step's 0.15 leave 1.6; 65,536 tokens take 1.41
    plan = make_plan(inputs(AMD, facts=LONG, available_bytes=int(3.6 * GIB)))
    found = {item.name: item for item in plan.flags}["--max-model-len"]
    assert (found.value, found.source) == ("65536", "hardware")
    assert plan.max_model_length == 65_536


def test_length_the_user_asks_for_is_not_halved() -> None:
    options = {"vllm_args": ("--max-model-len", "131072")}
    with pytest.raises(NotEnoughMemory, match="131072 tokens"):
        make_plan(inputs(AMD, facts=LONG, available_bytes=int(3.6 * GIB), options=options))


def test_draft_model_takes_its_part_of_the_cache() -> None:
    options = {"vllm_args": ("--kv-cache-memory-bytes", str(GIB))}
    alone = make_plan(inputs(AMD, options=options)).kv
    shared = make_plan(inputs(AMD, draft=SMOLLM2, options=options)).kv
    assert alone is not None
    assert shared is not None
    assert abs(shared.tokens - alone.tokens / 2) < 200


@pytest.mark.parametrize(
    ("hardware", "profile", "wishes", "says"),
    [
        (hoppers(4), "multi-gpu", {"tensor_parallel": 3}, "64 heads .* go not into 3 parts"),
        (AMD, "cpu", {"tensor_parallel": 5}, "64 heads .* go not into 5 parts"),
        (hoppers(1), "multi-gpu", {"pipeline_parallel": 2}, "wants 2 GPUs"),
    ],
)
def test_split_that_vllm_would_refuse_after_loading_is_refused_before(
    hardware: Hardware, profile: str, wishes: dict[str, Any], says: str
) -> None:
    small = replace(LLAMA_70B, weight_bytes=GIB)
    with pytest.raises(HardwareError, match=says):
        make_plan(inputs(hardware, profile, facts=small, wishes=wishes))
