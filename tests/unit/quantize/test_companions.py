"""What goes with the weights into an artifact: what is small and neither weights, nor code, nor left over."""

from __future__ import annotations

import pickle
import stat
import zipfile
from pathlib import Path

import pytest

from quantserve.core.errors import InputError
from quantserve.quantize.models.companions import companions, copy_companions
from quantserve.quantize.models.source import content_hash
from tests.unit.quantize.checkpoints import make_checkpoint, safetensors_bytes

CARRIED = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "tokenizer.model.v3",
    "spiece.model",
    "sentencepiece.bpe.model",
    "source.spm",
    "qwen.tiktoken",
    "tekken.json",
    "params.json",
    "generation_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "chat_templates/tool_use.jinja",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    "LICENSE",
    "LICENSE.md",
    "LICENSE-MODEL.txt",
    "LICENCE.pdf",
    "NOTICE",
    "NOTICE.txt",
    "COPYING",
    "USE_POLICY.md",
    "Gemma_Terms.md",
    "a file of tomorrow.dat",
]
LEFT = [
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin.index.json",
    "consolidated.safetensors",
    "pytorch_model.bin",
    "consolidated.00.pth",
    "model.gguf",
    "tf_model.h5",
    "flax_model.msgpack",
    "rust_model.ot.zip",
    "model.onnx",
    "model.tflite",
    "training_args.bin",
    "optimizer.pt",
    "trainer_state.json",
    "modeling_x.py",
    "tokenization_x.PY",
    "cache_kernel_256.cu",
    "setup.sh",
    "demo.ipynb",
    "README.md",
    "readme.txt",
    "README",
    "figure.png",
    "manifest.json",
    "report.json",
    "source.json",
    "quantize_config.json",
    "quant_config.json",
    "bitsandbytes.json",
    ".gitattributes",
    ".cache/huggingface/download/x.metadata",
    "__pycache__/x.json",
    "runs/events.out.tfevents.1",
    "wandb/run.json",
]


def touch(directory: Path, name: str, data: bytes = b"some text\n") -> None:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def names(directory: Path) -> list[str]:
    return [path.as_posix() for path in companions(directory)]


def test_everything_small_goes_along_and_nothing_else(tmp_path: Path) -> None:
    for name in (*CARRIED, *LEFT):
        touch(tmp_path, name)
    assert names(tmp_path) == sorted(CARRIED)


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps({"a": 1}, protocol=2),
        pickle.dumps({"a": 1}),
        b"GGUF\x03\x00\x00\x00",
        b"\x7fELF\x02\x01\x01\x00",
        b"#!/bin/sh\nrm -rf /\n",
        b"\x93NUMPY\x01\x00",
        b"\x89HDF\r\n\x1a\n",
    ],
)
def test_a_pickle_a_program_or_weights_under_a_harmless_name_stay_behind(tmp_path: Path, data: bytes) -> None:
    touch(tmp_path, "vocab.dat", data)
    assert names(tmp_path) == []


def test_torchs_zip_files_stay_behind_under_any_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "tokenizer.data", "w") as archive:
        archive.writestr("data.pkl", pickle.dumps([]))
    assert names(tmp_path) == []


@pytest.mark.parametrize("folder", ["original", "onnx", "checkpoint-500", "a/b"])
def test_a_folder_with_weights_of_its_own_is_another_model(tmp_path: Path, folder: str) -> None:
    touch(tmp_path, f"{folder}/tokenizer.model")
    touch(tmp_path, f"{folder}/weights.safetensors", safetensors_bytes({"a": (1,)}))
    assert names(tmp_path) == []


def test_files_of_a_cache_are_links_and_go_along(tmp_path: Path) -> None:
    touch(tmp_path, "blobs/abc")
    snapshot = tmp_path / "snapshots" / "commit"
    (snapshot / "chat_templates").mkdir(parents=True)
    (snapshot / "NOTICE").symlink_to("../../blobs/abc")
    (snapshot / "chat_templates" / "tools.jinja").symlink_to("../../../blobs/abc")
    assert names(snapshot) == ["NOTICE", "chat_templates/tools.jinja"]


def test_a_link_back_to_the_folder_is_not_followed(tmp_path: Path) -> None:
    touch(tmp_path, "NOTICE")
    (tmp_path / "again").symlink_to(".")
    assert names(tmp_path) == ["NOTICE"]


def test_a_file_too_large_for_a_tokenizer_is_said(tmp_path: Path) -> None:
    with (tmp_path / "vocab.txt").open("wb") as stream:
        stream.truncate(200_000_000)
    with pytest.raises(InputError, match=r"vocab\.txt has 200\.0 MB, too much.*at most 128\.0 MB"):
        companions(tmp_path)


def test_a_pointer_in_place_of_a_file_is_said(tmp_path: Path) -> None:
    touch(tmp_path, "tokenizer.model", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    with pytest.raises(InputError, match=r"tokenizer\.model is a Git LFS pointer.*lfs pull"):
        companions(tmp_path)


def test_copies_are_the_same_bytes_in_the_same_folders(tmp_path: Path) -> None:
    touch(tmp_path / "a", "chat_templates/tools.jinja", b"\xef\xbb\xbf{{ x }}\r\n")
    touch(tmp_path / "a", "tokenizer.model", bytes(range(256)))
    (tmp_path / "a" / "tokenizer.model").chmod(stat.S_IRUSR)
    (tmp_path / "b").mkdir()
    copy_companions(tmp_path / "a", tmp_path / "b")
    for name in ("chat_templates/tools.jinja", "tokenizer.model"):
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()


@pytest.mark.parametrize(
    "name", ["NOTICE", "qwen.tiktoken", "chat_templates/tools.jinja", "processor_config.json"]
)
def test_what_goes_along_is_part_of_what_a_checkpoint_is(tmp_path: Path, name: str) -> None:
    directory = make_checkpoint(tmp_path / "m")
    before = content_hash(directory, tmp_path / "run")
    touch(directory, name, b"{}")
    assert content_hash(directory, tmp_path / "run") != before


@pytest.mark.parametrize("name", ["consolidated.safetensors", "README.md", "trainer_state.json", "x.gguf"])
def test_what_stays_behind_is_no_part_of_it(tmp_path: Path, name: str) -> None:
    directory = make_checkpoint(tmp_path / "m")
    before = content_hash(directory, tmp_path / "run")
    touch(directory, name)
    assert content_hash(directory, tmp_path / "run") == before
