from __future__ import annotations

from dataclasses import replace

import pytest

from quantserve.core.errors import UsageError
from quantserve.serving.command import Plan, default_profile, make_plan, parse_flags
from quantserve.serving.errors import HardwareError, NotEnoughMemory
from quantserve.serving.hardware import GemmSpeed, Hardware, Instruction, Libraries
from tests.unit.serving.machines import (
    AMD,
    BROKEN_AMX,
    CAP,
    GIB,
    H100,
    NO_HALF,
    SMOLLM2,
    T4,
    WORKING_AMX,
    inputs,
    speeds,
)


def flag(plan: Plan, name: str) -> str | None:
    values = [item.value for item in plan.flags if item.name == name]
    assert len(values) == 1, f"{name} stands {len(values)} times"
    return values[0]


@pytest.mark.parametrize(
    ("hardware", "profile", "dtype", "cap"),
    [
        (BROKEN_AMX, "cpu", "float16", CAP),
        (WORKING_AMX, "cpu", "bfloat16", None),
        (AMD, "cpu", "bfloat16", None),
        (NO_HALF, "cpu", "float32", None),
        (H100, "gpu-throughput", "bfloat16", None),
        (T4, "gpu-latency", "float16", None),
    ],
)
def test_number_format_fits_the_machine(
    hardware: Hardware, profile: str, dtype: str, cap: str | None
) -> None:
    plan = make_plan(inputs(hardware, profile))
    assert flag(plan, "--dtype") == dtype
    assert plan.env().get("ONEDNN_MAX_CPU_ISA") == cap


def test_bfloat16_is_avoided_when_only_vllms_attention_dies() -> None:
    trials = tuple(replace(t, lives=t.dtype != "bfloat16") for t in WORKING_AMX.attention)
    plan = make_plan(inputs(replace(WORKING_AMX, attention=trials)))
    assert flag(plan, "--dtype") == "float16"
    assert "ONEDNN_MAX_CPU_ISA" not in plan.env()


def test_model_that_overflows_in_float16_gets_float32_where_bfloat16_dies() -> None:
    plan = make_plan(inputs(BROKEN_AMX, facts=replace(SMOLLM2, model_type="gemma2")))
    assert flag(plan, "--dtype") == "float32"


def test_a_model_with_weights_beyond_float16_is_never_run_in_it() -> None:
    wide = replace(SMOLLM2, beyond_float16=True)
    assert make_plan(inputs(BROKEN_AMX, facts=SMOLLM2)).dtype == "float16"
    assert make_plan(inputs(BROKEN_AMX, facts=wide)).dtype == "float32"
    assert make_plan(inputs(T4, facts=replace(wide, weight_bytes=10**8))).dtype == "float32"


def test_number_format_that_dies_is_refused_when_the_user_insists() -> None:
    with pytest.raises(HardwareError, match="bfloat16"):
        make_plan(inputs(BROKEN_AMX, options={"vllm_args": ("--dtype", "bfloat16")}))


def test_every_item_has_a_reason_and_a_source() -> None:
    plan = make_plan(inputs(AMD))
    sources = {"hardware", "model", "profile", "manifest", "user", "safety"}
    assert all(item.reason and item.source in sources for item in (*plan.flags, *plan.environment))


def test_cpu_is_eager_bound_to_both_cores_and_preloaded() -> None:
    plan = make_plan(inputs(AMD))
    assert flag(plan, "--enforce-eager") is None
    assert plan.env()["VLLM_CPU_OMP_THREADS_BIND"] == "0-1"
    assert plan.env()["LD_PRELOAD"] == "/usr/lib/libtcmalloc_minimal.so.4:/env/lib/libiomp5.so"
    assert plan.env()["QUANTSERVE_FORK_SERVER"] == "1"
    assert flag(plan, "--distributed-executor-backend") == "quantserve.serving.one_process.OneProcess"


def test_the_engine_core_computes_itself_only_where_it_is_forked() -> None:
    bare = replace(AMD, libraries=replace(AMD.libraries, iomp=None))
    for plan in (make_plan(inputs(bare)), make_plan(inputs(H100, "gpu-throughput"))):
        assert not any(item.name == "--distributed-executor-backend" for item in plan.flags)
        assert "QUANTSERVE_FORK_SERVER" not in plan.env()


@pytest.mark.parametrize(
    "wish", [{"QUANTSERVE_FORK_SERVER": "0"}, {"VLLM_CPU_OMP_THREADS_BIND": "nobind"}], ids=str
)
def test_a_profile_that_forbids_forks_gets_vllms_own_executor(wish: dict[str, str]) -> None:
    given = inputs(AMD)
    profile = given.profile.model_copy(update={"environment": wish})
    plan = make_plan(replace(given, profile=profile))
    assert not any(item.name == "--distributed-executor-backend" for item in plan.flags)
    assert plan.env().items() >= wish.items()
    assert plan.env().get("QUANTSERVE_FORK_SERVER") != "1"


def test_compiling_on_a_cpu_is_a_profile() -> None:
    assert not any(item.name == "--enforce-eager" for item in make_plan(inputs(AMD, "cpu-compiled")).flags)


def test_gpu_is_compiled_and_gets_no_processor_settings() -> None:
    plan = make_plan(inputs(H100, "gpu-throughput"))
    assert not any(item.name == "--enforce-eager" for item in plan.flags)
    assert not {"LD_PRELOAD", "VLLM_CPU_OMP_THREADS_BIND", "QUANTSERVE_FORK_SERVER"} & plan.env().keys()


def test_absent_libraries_are_warnings_with_the_mend() -> None:
    plan = make_plan(inputs(replace(AMD, libraries=Libraries(None, None))))
    assert "LD_PRELOAD" not in plan.env()
    assert any("libtcmalloc-minimal4" in warning for warning in plan.warnings)
    assert any("intel-openmp" in warning for warning in plan.warnings)


def test_amds_kernels_come_without_their_compiler_unless_the_engine_compiles() -> None:
    zen = replace(AMD, libraries=replace(AMD.libraries, zentorch="/env/libzentorch.so"))
    assert make_plan(inputs(zen)).env()["QUANTSERVE_ZENTORCH"] == "/env/libzentorch.so"
    compiled = make_plan(inputs(zen, "cpu-compiled"))
    assert compiled.env()["QUANTSERVE_ZENTORCH"] == "/env/libzentorch.so"
    assert "QUANTSERVE_ZENTORCH" not in make_plan(inputs(AMD)).env()


def test_amds_kernels_are_left_out_in_float16() -> None:
    fast_half = replace(AMD, gemm=(GemmSpeed("float16", None, speeds(200, 300)),))
    zen = replace(fast_half, libraries=replace(AMD.libraries, zentorch="/env/libzentorch.so"))
    assert make_plan(inputs(zen)).env()["QUANTSERVE_ZENTORCH"] == "none"


def test_control_group_quota_limits_the_threads() -> None:
    limited = replace(AMD, cpu=replace(AMD.cpu, usable=(0, 1, 2, 3, 8), quota_cores=2.0))
    assert make_plan(inputs(limited)).env()["VLLM_CPU_OMP_THREADS_BIND"] == "0-1"


def test_telemetry_and_the_hub_are_off() -> None:
    env = make_plan(inputs(AMD)).env()
    assert (env["HF_HUB_OFFLINE"], env["VLLM_NO_USAGE_STATS"], env["DO_NOT_TRACK"]) == ("1", "1", "1")
    assert env["VLLM_SERVER_DEV_MODE"] == "0"


def test_queue_is_bounded_and_running_requests_drain() -> None:
    plan = make_plan(inputs(AMD))
    assert flag(plan, "--max-num-queued-reqs") == "256"
    assert flag(plan, "--shutdown-timeout") == "30"


def test_kv_cache_counts_only_the_kv_heads() -> None:
    # 2 (keys, values) x 30 layers x 3 heads x 64 wide x 2 bytes = 23,040 bytes a token
    plan = make_plan(inputs(AMD))
    assert plan.kv is not None
    assert plan.kv.bytes_per_token == 23_040
    # 64 sequences x 1,024 tokens wished = 65,536 tokens = 1.41 GiB, below half of what is free
    assert flag(plan, "--kv-cache-memory-bytes") == str(65_536 * 23_040)
    assert plan.kv.tokens == 65_536
    assert plan.kv.sequences == 8.0


def test_kv_cache_is_never_smaller_than_one_full_request() -> None:
    plan = make_plan(inputs(AMD, available_bytes=int(2.2 * GIB)))
    assert plan.kv is not None
    assert plan.kv.tokens == 8192


def test_memory_that_does_not_suffice_is_refused_with_the_figures() -> None:
    with pytest.raises(
        NotEnoughMemory,
        match=r"weights 256\.\d MiB, engine .* one request of 8192 tokens 180\.0 MiB.* 1\.0 GiB",
    ):
        make_plan(inputs(AMD, available_bytes=GIB))


def test_kv_cache_the_user_asks_for_must_fit() -> None:
    with pytest.raises(NotEnoughMemory, match=r"KV cache of 100\.0 GiB"):
        make_plan(inputs(AMD, options={"vllm_args": ("--kv-cache-memory-bytes", str(100 * GIB))}))


def test_float32_doubles_weights_and_cache() -> None:
    plan = make_plan(inputs(NO_HALF))
    assert plan.weights_bytes == 538_121_104
    assert plan.kv is not None
    assert plan.kv.bytes_per_token == 46_080


def test_quantized_weights_stay_as_large_as_stored() -> None:
    facts = replace(SMOLLM2, quantization="gptq", weight_bytes=100_000_000)
    assert make_plan(inputs(NO_HALF, facts=facts)).weights_bytes == 100_000_000


def test_model_too_large_for_the_gpu_is_refused() -> None:
    large = replace(SMOLLM2, weight_bytes=140 * GIB)
    with pytest.raises(NotEnoughMemory, match="does not fit"):
        make_plan(inputs(H100, "gpu-throughput", facts=large))


# 46,080 bytes a token at two bytes a value, for 30 layers of three KV heads of 64.
@pytest.mark.parametrize(
    ("given", "tokens"),
    [
        (("--kv-cache-memory-bytes", "1000000000"), 43392),
        (("--kv-cache-memory-bytes", "1000000000", "--kv-cache-dtype", "fp8"), 86800),
        (("--kv-cache-memory-bytes", "1000000000", "--kv-cache-dtype", "auto"), 43392),
    ],
)
def test_a_gpu_cache_holds_what_was_given_in_the_format_wished_for(
    given: tuple[str, ...], tokens: int
) -> None:
    plan = make_plan(inputs(H100, "gpu-throughput", options={"vllm_args": given}))
    assert plan.kv is not None
    assert plan.kv.tokens == tokens
    through_profile = {
        name.removeprefix("--"): value for name, value in zip(given[::2], given[1::2], strict=True)
    }
    plan = make_plan(inputs(H100, "gpu-throughput", wishes={"vllm": through_profile}))
    assert plan.kv is not None
    assert plan.kv.tokens == tokens


def test_a_gpu_cache_that_was_given_is_not_taken_from_the_share() -> None:
    given = ("--kv-cache-memory-bytes", "1000000000", "--gpu-memory-utilization", "0.01")
    plan = make_plan(inputs(H100, "gpu-throughput", options={"vllm_args": given}))
    assert plan.kv is not None
    assert plan.kv.tokens == 43392


@pytest.mark.parametrize(
    ("size", "figures"),
    [
        (100 * GIB, r"100\.0 GiB does not fit: each GPU has 7\d\.\d GiB beside"),
        (GIB // 8, r"128\.0 MiB holds no request of 8192 tokens, which takes 180\.0 MiB"),
    ],
)
def test_a_gpu_cache_that_cannot_be_is_refused_with_the_figures(size: int, figures: str) -> None:
    options = {"vllm_args": ("--kv-cache-memory-bytes", str(size), "--max-model-len", "8192")}
    with pytest.raises(NotEnoughMemory, match=figures):
        make_plan(inputs(H100, "gpu-throughput", options=options))


def test_less_of_the_gpu_leaves_a_smaller_cache() -> None:
    half = make_plan(inputs(H100, "gpu-latency", options={"vllm_args": ("--gpu-memory-utilization", "0.45")}))
    whole = make_plan(inputs(H100, "gpu-latency"))
    assert half.kv is not None
    assert whole.kv is not None
    assert half.kv.size_bytes < whole.kv.size_bytes / 2


def test_gpu_profile_without_a_gpu_is_refused() -> None:
    with pytest.raises(HardwareError, match="--profile cpu"):
        make_plan(inputs(AMD, "gpu-latency"))


def test_more_gpus_than_there_are_is_refused() -> None:
    with pytest.raises(HardwareError, match="wants 4 GPUs"):
        make_plan(inputs(H100, "gpu-throughput", wishes={"tensor_parallel": 4}))


@pytest.mark.parametrize(("hardware", "name"), [(AMD, "cpu"), (H100, "gpu-throughput")])
def test_default_profile_follows_the_hardware(hardware: Hardware, name: str) -> None:
    assert default_profile(hardware) == name


def test_user_flags_replace_ours() -> None:
    arguments = ("--max-num-seqs", "7", "--no-enable-prefix-caching", "--seed=3")
    plan = make_plan(inputs(AMD, options={"vllm_args": arguments}))
    assert flag(plan, "--max-num-seqs") == "7"
    assert flag(plan, "--seed") == "3"
    assert flag(plan, "--no-enable-prefix-caching") is None
    assert not any(item.name == "--enable-prefix-caching" for item in plan.flags)


def test_length_beyond_the_model_is_refused() -> None:
    with pytest.raises(UsageError, match="8192"):
        make_plan(inputs(AMD, options={"vllm_args": ("--max-model-len", "9000")}))


def test_shorter_length_needs_less_memory() -> None:
    plan = make_plan(
        inputs(AMD, available_bytes=int(2.6 * GIB), options={"vllm_args": ("--max-model-len", "512")})
    )
    assert plan.max_model_length == 512
    assert plan.argv("python").count("--max-model-len") == 1


def test_profile_passes_vllm_options_through() -> None:
    plan = make_plan(inputs(AMD, wishes={"vllm": {"stream_interval": 4, "enable-lora": True, "seed": False}}))
    assert flag(plan, "--stream-interval") == "4"
    assert flag(plan, "--enable-lora") is None
    assert not any(item.name == "--seed" for item in plan.flags)


def test_argv_starts_our_engine_module_bound_to_its_parent() -> None:
    argv = make_plan(inputs(AMD)).argv("/env/bin/python", parent=42)
    assert argv[:6] == [
        "/env/bin/python",
        "-m",
        "quantserve.serving.vllm_server",
        "--parent",
        "42",
        "--model",
    ]


def test_flags_are_read_in_all_their_forms() -> None:
    words = ("--a", "1", "--b=2", "--c", "--d", "x", "y")
    assert parse_flags(words) == {"--a": "1", "--b": "2", "--c": None, "--d": "x y"}


def test_word_before_any_flag_is_refused() -> None:
    with pytest.raises(UsageError, match="'oops' is no vLLM flag"):
        parse_flags(("oops",))


@pytest.mark.parametrize(("hardware", "warned"), [(WORKING_AMX, True), (AMD, False), (BROKEN_AMX, False)])
def test_eight_bit_activations_of_the_amx_kernel_are_said(hardware: Hardware, warned: bool) -> None:
    with_int8 = replace(
        hardware,
        instructions=(
            *hardware.instructions,
            Instruction("amx_int8", hardware is not AMD, hardware is WORKING_AMX),
        ),
    )
    plan = make_plan(inputs(with_int8, facts=replace(SMOLLM2, quantization="gptq")))
    assert any("VLLM_CPU_INT4_W4A8" in warning for warning in plan.warnings) is warned


@pytest.mark.parametrize(
    ("version", "verdict", "private", "warned"),
    [
        ("int8-w8a8-1", "ACCEPT", False, ""),
        (
            "int8-w8a8-1",
            "REGRESSION",
            False,
            "the quality gate said REGRESSION of SmolLM2-135M-Instruct int8",
        ),
        ("int8-w8a8-1", None, False, "the quality gate has not judged SmolLM2-135M-Instruct int8-w8a8-1"),
        ("int8-w8a8-1", None, True, ""),  # the gate itself serves it so
        (None, None, False, ""),  # a base is judged by nobody
    ],
)
def test_an_artifact_that_was_not_accepted_is_served_with_a_warning(
    version: str | None, verdict: str | None, private: bool, warned: str
) -> None:
    given = inputs(AMD, version=version, options={"private": private})
    plan = make_plan(replace(given, target=replace(given.target, verdict=verdict)))
    said = [warning for warning in plan.warnings if "quality gate" in warning]
    assert [warned] == [one[: len(warned)] for one in said] if warned else said == []
