from __future__ import annotations

import contextlib
import json
import struct
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantserve.core.errors import QuantserveError
from quantserve.quantize.artifact import ArtifactError, Manifest, file_records, now, write_manifest
from quantserve.serving.errors import TargetError
from quantserve.serving.target import resolve_target

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "vocab_size": 1024,
    "max_position_embeddings": 512,
    "dtype": "bfloat16",
}


def write_checkpoint(directory: Path, **config: Any) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps({**CONFIG, **config}), encoding="utf-8")
    (directory / "tokenizer.json").write_text("{}", encoding="utf-8")
    header = json.dumps({"w": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}}).encode()
    (directory / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    return directory


def write_artifact(home: Path, version: str = "gptq-1") -> Path:
    directory = write_checkpoint(home / version, quantization_config={"quant_method": "gptq"})
    manifest = Manifest(
        name=home.name,
        version=version,
        key="k",
        created=now(),
        method="gptq",
        bits=4,
        parameters={},
        base=None,
        files=file_records(directory),
    )
    write_manifest(directory, manifest)
    return directory


def test_plain_checkpoint_has_its_directorys_name_and_no_version(tmp_path: Path) -> None:
    target = resolve_target(write_checkpoint(tmp_path / "Small"))
    assert (target.name, target.version, target.facts.kv_heads) == ("Small", None, 2)


def test_head_width_follows_from_the_hidden_size(tmp_path: Path) -> None:
    assert resolve_target(write_checkpoint(tmp_path / "m")).facts.head_dim == 32


def test_artifact_gives_name_version_and_method(tmp_path: Path) -> None:
    target = resolve_target(write_artifact(tmp_path / "Small"))
    assert (target.name, target.version, target.method, target.bits) == ("Small", "gptq-1", "gptq", 4)
    assert target.facts.quantization == "gptq"


def test_current_is_resolved_once(tmp_path: Path) -> None:
    directory = write_artifact(tmp_path / "Small")
    (tmp_path / "Small/current").symlink_to("gptq-1")
    assert resolve_target(tmp_path / "Small/current").directory == directory.resolve()


def test_artifact_with_a_file_of_another_size_is_refused(tmp_path: Path) -> None:
    directory = write_artifact(tmp_path / "Small")
    with (directory / "model.safetensors").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(ArtifactError, match=r"model\.safetensors"):
        resolve_target(directory)


def test_artifact_with_a_changed_byte_is_refused(tmp_path: Path) -> None:
    directory = write_artifact(tmp_path / "Small")
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ArtifactError, match="changed"):
        resolve_target(directory)


@pytest.mark.parametrize(
    ("name", "content"),
    [("config.json", {**CONFIG, "auto_map": {}}), ("tokenizer_config.json", {"auto_map": {}})],
)
def test_code_in_the_checkpoint_is_refused(tmp_path: Path, name: str, content: dict[str, Any]) -> None:
    directory = write_checkpoint(tmp_path / "m")
    (directory / name).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(TargetError, match="auto_map"):
        resolve_target(directory)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    directory = write_checkpoint(tmp_path / "m")
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    with pytest.raises(TargetError, match="pickled"):
        resolve_target(directory)


@pytest.mark.parametrize("keep", [0, 5, 20, -1])
def test_truncated_weights_are_refused(tmp_path: Path, keep: int) -> None:
    weights = write_checkpoint(tmp_path / "m") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(TargetError, match=r"model\.safetensors"):
        resolve_target(tmp_path / "m")


@pytest.mark.parametrize(
    "config",
    [
        "",
        "[]",
        "{}",
        "{",
        json.dumps({**CONFIG, "num_attention_heads": 0}),
        json.dumps({**CONFIG, "vocab_size": "x"}),
    ],
)
def test_unusable_config_is_refused(tmp_path: Path, config: str) -> None:
    directory = write_checkpoint(tmp_path / "m")
    (directory / "config.json").write_text(config, encoding="utf-8")
    with pytest.raises(TargetError, match=r"config\.json"):
        resolve_target(directory)


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_incomplete_checkpoint_is_refused(tmp_path: Path, missing: str) -> None:
    directory = write_checkpoint(tmp_path / "m")
    (directory / missing).unlink()
    with pytest.raises(QuantserveError) as caught:
        resolve_target(directory)
    assert caught.value.exit_code == 2
    assert caught.value.mend


def test_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="not a directory"):
        resolve_target(tmp_path / "absent")


def write_stray(directory: Path, name: str, tensors: tuple[str, ...] = ("w",)) -> None:
    """Write another safetensors file beside the model's."""
    header = {
        tensor: {"dtype": "BF16", "shape": [4], "data_offsets": [i * 8, i * 8 + 8]}
        for i, tensor in enumerate(tensors)
    }
    raw = json.dumps(header).encode()
    (directory / name).write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(8 * len(tensors)))


def write_index(directory: Path, weight_map: dict[str, str]) -> None:
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_files_that_the_index_does_not_name_are_neither_counted_nor_read(tmp_path: Path) -> None:
    directory = write_checkpoint(tmp_path / "m")
    alone = resolve_target(directory).facts
    write_index(directory, {"w": "model.safetensors"})
    write_stray(directory, "consolidated.safetensors")
    (directory / "other.safetensors").write_bytes(b"damaged")
    facts = resolve_target(directory).facts
    assert facts.weight_bytes == alone.weight_bytes == (directory / "model.safetensors").stat().st_size
    assert facts.foreign_weights == ("consolidated.safetensors", "other.safetensors")


def test_files_that_the_engine_would_read_as_the_models_are_refused(tmp_path: Path) -> None:
    directory = write_checkpoint(tmp_path / "m")
    write_stray(directory, "consolidated.safetensors")
    with pytest.raises(TargetError, match=r"consolidated\.safetensors beside .* would read both.*Move away"):
        resolve_target(directory)


def test_a_missing_shard_is_refused(tmp_path: Path) -> None:
    directory = write_checkpoint(tmp_path / "m")
    write_index(directory, {"w": "model.safetensors", "x": "model-2.safetensors"})
    with pytest.raises(TargetError, match=r"model-2\.safetensors, which its index names, is missing"):
        resolve_target(directory)


def test_quantized_weights_of_which_config_json_says_nothing_are_refused(tmp_path: Path) -> None:
    directory = write_checkpoint(tmp_path / "m")
    write_stray(directory, "model.safetensors", ("model.layers.0.q_proj.qweight",))
    (directory / "quantize_config.json").write_text('{"bits": 4}')
    with pytest.raises(TargetError, match="quantserve quantize import"):
        resolve_target(directory)


def test_a_snapshot_of_the_hubs_cache_is_served_under_the_models_name(tmp_path: Path) -> None:
    assert resolve_target(write_checkpoint(tmp_path / "models--o--Small/snapshots/0123")).name == "Small"


@pytest.mark.parametrize("name", ["tokenizer.model", "vocab.txt", "tekken.json", "qwen.tiktoken"])
def test_any_form_of_tokenizer_may_be_served(tmp_path: Path, name: str) -> None:
    directory = write_checkpoint(tmp_path / "m")
    (directory / "tokenizer.json").rename(directory / name)
    assert resolve_target(directory).name == "m"


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "model.safetensors.index.json"])
def test_deep_nesting_is_one_line(tmp_path: Path, name: str) -> None:
    directory = write_checkpoint(tmp_path / "m")
    (directory / name).write_text('{"a":' + "[" * 100_000)
    with pytest.raises(TargetError, match=rf"{name} is not valid JSON: it is nested"):
        resolve_target(directory)


def test_a_header_of_brackets_is_one_line(tmp_path: Path) -> None:
    directory = write_checkpoint(tmp_path / "m")
    raw = b'{"a":' + b"[" * 1_000_000
    (directory / "model.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw)
    with pytest.raises(TargetError, match="damaged safetensors header: it is nested"):
        resolve_target(directory)


def test_a_manifest_of_brackets_is_one_line(tmp_path: Path) -> None:
    directory = write_artifact(tmp_path / "Small")
    (directory / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(ArtifactError, match=r"manifest\.json is not valid JSON: it is nested"):
        resolve_target(directory)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)
KEYS = (
    "text_config",
    "quantization_config",
    "sliding_window",
    "layer_types",
    "kv_lora_rank",
    "id2label",
    "head_dim",
)


@given(st.dictionaries(st.sampled_from((*CONFIG, *KEYS, "transformers_weights", "pad_token_id")), ANYTHING))
def test_no_config_ends_in_a_traceback(changes: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(QuantserveError):
        resolve_target(write_checkpoint(Path(folder) / "m", **changes))


def test_lists_of_other_programs_beside_a_checkpoint_are_theirs(tmp_path: Path) -> None:
    directory = write_checkpoint(tmp_path / "m")
    (directory / "data_config.json").write_text('[{"name": "x.jsonl.gz", "lines": 1}]', encoding="utf-8")
    assert resolve_target(directory).directory == directory.resolve()


@pytest.mark.parametrize("name", ["tokenizer_config.json", "generation_config.json", "processor_config.json"])
def test_configuration_that_the_engine_reads_must_be_an_object(tmp_path: Path, name: str) -> None:
    directory = write_checkpoint(tmp_path / "m")
    (directory / name).write_text("[]", encoding="utf-8")
    with pytest.raises(TargetError, match=f"{name} is not a JSON object"):
        resolve_target(directory)
