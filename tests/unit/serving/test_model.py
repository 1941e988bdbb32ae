"""What is read from a checkpoint's config.json beside the plain decoder's shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from quantserve.serving.model import read_model_facts, tool_parser_of

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 128,
    "num_hidden_layers": 6,
    "vocab_size": 1024,
    "max_position_embeddings": 512,
}
BERT = {**LLAMA, "architectures": ["BertModel"], "model_type": "bert", "num_key_value_heads": None}
WHISPER = {
    "architectures": ["WhisperForConditionalGeneration"],
    "model_type": "whisper",
    "decoder_layers": 4,
    "decoder_attention_heads": 6,
    "d_model": 384,
    "vocab_size": 51865,
    "max_target_positions": 448,
    "max_source_positions": 1500,
}


def read(directory: Path, config: dict[str, Any]) -> Any:
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return read_model_facts(directory)


@pytest.mark.parametrize(
    ("config", "task"),
    [
        (LLAMA, "generate"),
        (BERT, "embed"),
        ({**LLAMA, "architectures": ["Qwen3Model"]}, "embed"),
        ({**BERT, "architectures": ["BertForSequenceClassification"], "id2label": {"0": "x"}}, "score"),
        ({**BERT, "architectures": ["BertForSequenceClassification"], "num_labels": 1}, "score"),
        ({**BERT, "architectures": ["BertForSequenceClassification"]}, "classify"),
        (
            {**BERT, "architectures": ["XForSequenceClassification"], "id2label": {"0": "a", "1": "b"}},
            "classify",
        ),
        (WHISPER, "transcribe"),
    ],
)
def test_architecture_tells_the_task(tmp_path: Path, config: dict[str, Any], task: str) -> None:
    assert read(tmp_path, config).task == task


def test_sentence_transformers_makes_an_embedding_of_any_model(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("[]", encoding="utf-8")
    assert read(tmp_path, LLAMA).task == "embed"


def test_encoder_keeps_no_cache(tmp_path: Path) -> None:
    facts = read(tmp_path, BERT)
    assert (facts.causal, facts.kv_bytes_per_token(2)) == (False, 0)


def test_positions_of_roberta_begin_behind_the_padding(tmp_path: Path) -> None:
    config = {**BERT, "model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 1}
    assert read(tmp_path, config).max_length == 512


def test_whisper_is_read_by_its_decoder(tmp_path: Path) -> None:
    facts = read(tmp_path, WHISPER)
    assert (facts.layers, facts.attention_heads, facts.head_dim, facts.max_length) == (4, 6, 64, 448)
    assert facts.encoder_tokens == 1500


@pytest.mark.parametrize(
    ("changes", "window", "layers"),
    [
        ({}, None, 0),
        ({"sliding_window": 128}, 128, 6),
        ({"sliding_window": 128, "use_sliding_window": False}, None, 0),
        ({"sliding_window": 128, "layer_types": ["sliding_attention", "full_attention"] * 3}, 128, 3),
        ({"sliding_window": 128, "layer_types": ["full_attention"] * 6}, None, 0),
        ({"sliding_window": 128, "sliding_window_pattern": 6}, 128, 5),
    ],
)
def test_sliding_windows(tmp_path: Path, changes: dict[str, Any], window: int | None, layers: int) -> None:
    facts = read(tmp_path, {**LLAMA, **changes})
    assert (facts.sliding_window, facts.sliding_layers) == (window, layers)


@pytest.mark.parametrize(
    ("changes", "bytes_per_token", "word"),
    [
        ({"num_key_value_heads": 4}, 3072, "MHA"),  # 2 x 6 layers x 4 heads x 32 wide x 2 bytes
        ({"num_key_value_heads": 2}, 1536, "GQA: 2 of 4"),
        ({"num_key_value_heads": 1}, 768, "MQA: 1 of 4"),
        ({"kv_lora_rank": 512, "qk_rope_head_dim": 64}, 6912, "MLA: 576"),  # 6 layers x 576 x 2 bytes
    ],
)
def test_bytes_of_a_token(tmp_path: Path, changes: dict[str, Any], bytes_per_token: int, word: str) -> None:
    facts = read(tmp_path, {**LLAMA, **changes})
    assert facts.kv_bytes_per_token(2) == bytes_per_token
    assert word in facts.attention


@pytest.mark.parametrize(
    ("template", "parser"),
    [
        ("{{ messages }}", None),
        ("<tool_call>\\n{...}\\n</tool_call>", "hermes"),
        ("<tool_call><function=name></function></tool_call>", "qwen3_coder"),
        ("{{ '<|python_tag|>' }}", "llama3_json"),
        ("[TOOL_CALLS] [", "mistral"),
    ],
)
def test_chat_template_tells_how_tools_are_called(template: str, parser: str | None) -> None:
    assert tool_parser_of(template) == parser


def test_chat_template_is_found_beside_the_tokenizer_and_in_its_configuration(tmp_path: Path) -> None:
    config = {"chat_template": "<tool_call>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    assert read(tmp_path, LLAMA).tool_parser == "hermes"
    (tmp_path / "chat_template.jinja").write_text("plain", encoding="utf-8")
    assert read(tmp_path, LLAMA).tool_parser is None
