from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from quantserve.quantize.models.checks import CheckpointError, check_checkpoint
from tests.unit.quantize.checkpoints import TENSORS, make_checkpoint, safetensors_bytes


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "model")


def test_a_whole_checkpoint_is_described(checkpoint: Path) -> None:
    found = check_checkpoint(checkpoint)
    assert found.elements == 96 * 64 + 64 * 64 + 64 * 128 + 64
    assert set(found.tensors) == set(TENSORS)
    assert not found.quantized


def test_the_command_line_and_the_checks_need_no_torch() -> None:
    code = "import sys, quantize.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("cut_bytes", [1, 1000, 20_000])
def test_a_truncated_file_is_refused(checkpoint: Path, cut_bytes: int) -> None:
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-cut_bytes])
    with pytest.raises(CheckpointError, match=r"model\.safetensors has .*Fetch the model again"):
        check_checkpoint(checkpoint)


@pytest.mark.parametrize(
    "data", [b"", b"\x00" * 7, b"\xff" * 100, b"\x10" + b"\x00" * 7 + b"not json at all!"]
)
def test_what_is_not_safetensors_is_refused(checkpoint: Path, data: bytes) -> None:
    (checkpoint / "model.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        check_checkpoint(checkpoint)


def test_bytes_after_the_last_tensor_are_refused(checkpoint: Path) -> None:
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b"x")
    with pytest.raises(CheckpointError, match="its header asks for"):
        check_checkpoint(checkpoint)


def test_an_lfs_pointer_is_named_as_such(checkpoint: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
    (checkpoint / "model.safetensors").write_bytes(pointer)
    with pytest.raises(CheckpointError, match=r"Git LFS pointer.*lfs pull"):
        check_checkpoint(checkpoint)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pt", "model.pkl"])
def test_pickle_weights_are_refused(checkpoint: Path, name: str) -> None:
    (checkpoint / name).write_bytes(b"\x80\x04.")
    with pytest.raises(CheckpointError, match=f"pickle weights .{name}.*Delete them"):
        check_checkpoint(checkpoint)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_in_a_checkpoint_is_refused(checkpoint: Path, name: str) -> None:
    (checkpoint / name).write_text(json.dumps({"auto_map": {"AutoModelForCausalLM": "modeling.Evil"}}))
    with pytest.raises(CheckpointError, match="auto_map"):
        check_checkpoint(checkpoint)


def test_a_missing_tokenizer_is_said(checkpoint: Path) -> None:
    (checkpoint / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="holds no tokenizer"):
        check_checkpoint(checkpoint)


def test_a_directory_without_config_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no config\.json"):
        check_checkpoint(tmp_path)


def test_a_missing_directory_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="quantserve quantize model"):
        check_checkpoint(tmp_path / "absent")


def test_a_shard_that_the_index_names_must_be_there(checkpoint: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002.safetensors"}}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"model-00002\.safetensors.*missing"):
        check_checkpoint(checkpoint)


def test_an_interrupted_download_is_said(checkpoint: Path) -> None:
    cache = checkpoint / ".cache" / "huggingface" / "download"
    cache.mkdir(parents=True)
    (cache / "model.safetensors.abc.incomplete").write_bytes(b"")
    with pytest.raises(CheckpointError, match="interrupted download"):
        check_checkpoint(checkpoint)


def test_a_damaged_config_is_said(checkpoint: Path) -> None:
    (checkpoint / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json is not valid JSON"):
        check_checkpoint(checkpoint)


def test_a_damaged_shard_that_the_index_names_is_refused(checkpoint: Path) -> None:
    (checkpoint / "other.safetensors").write_bytes(safetensors_bytes(TENSORS)[:50])
    index = {"weight_map": dict.fromkeys(TENSORS, "model.safetensors") | {"b": "other.safetensors"}}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"other\.safetensors is truncated"):
        check_checkpoint(checkpoint)


def test_a_damaged_file_that_is_not_the_models_does_not_matter(checkpoint: Path) -> None:
    (checkpoint / "other.safetensors").write_bytes(safetensors_bytes(TENSORS)[:50])
    found = check_checkpoint(checkpoint)
    assert set(found.tensors) == set(TENSORS)
    assert [path.name for path in found.foreign] == ["other.safetensors"]


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
        "preprocessor_config.json",
    ],
)
def test_deep_nesting_is_one_line(checkpoint: Path, name: str) -> None:
    (checkpoint / name).write_text('{"a":' + "[" * 100_000)
    with pytest.raises(
        CheckpointError, match=rf"{name} is not valid JSON: it is nested more than 100 levels"
    ):
        check_checkpoint(checkpoint)


def test_deep_nesting_in_the_index_is_one_line(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors.index.json").write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match=r"index\.json is not valid JSON: it is nested"):
        check_checkpoint(checkpoint)


@pytest.mark.parametrize("value", ['"x"', "-1", "0", "1.5", "true", "[]", "1e400", "9" * 30])
def test_a_size_that_is_no_count_is_said(checkpoint: Path, value: str) -> None:
    (checkpoint / "config.json").write_text(f'{{"model_type": "llama", "hidden_size": {value}}}')
    with pytest.raises(CheckpointError, match=r"config\.json: hidden_size is .*, no count"):
        check_checkpoint(checkpoint)


def test_code_named_by_a_processor_is_refused_too(checkpoint: Path) -> None:
    (checkpoint / "preprocessor_config.json").write_text('{"auto_map": {"AutoProcessor": "processing.Evil"}}')
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json has an auto_map"):
        check_checkpoint(checkpoint)


@pytest.mark.parametrize(
    "name", ["tokenizer.model", "spiece.model", "vocab.txt", "vocab.json", "tekken.json", "qwen.tiktoken"]
)
def test_any_form_of_tokenizer_counts(checkpoint: Path, name: str) -> None:
    (checkpoint / "tokenizer.json").rename(checkpoint / name)
    assert check_checkpoint(checkpoint).elements


def test_lists_of_other_programs_beside_a_checkpoint_are_theirs(checkpoint: Path) -> None:
    (checkpoint / "data_config.json").write_text('[{"name": "x.jsonl.gz", "lines": 1}]')
    assert check_checkpoint(checkpoint).elements
    (checkpoint / "tokenizer_config.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json is not a JSON object"):
        check_checkpoint(checkpoint)
