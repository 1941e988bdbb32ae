from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quantserve.core.errors import QuantserveError
from quantserve.serving.adapters import parse_adapters, read_adapters
from quantserve.serving.background import serve_argv
from quantserve.serving.config import RunDirectory, ServeOptions
from tests.unit.serving.machines import SMOLLM2

CONFIG: dict[str, Any] = {"peft_type": "LORA", "r": 16, "target_modules": ["q_proj"]}


def write_adapter(directory: Path, width: int = SMOLLM2.hidden_size, **config: Any) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "adapter_config.json").write_text(json.dumps({**CONFIG, **config}), encoding="utf-8")
    tensor = {"dtype": "F32", "shape": [1, width], "data_offsets": [0, 4 * width]}
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    header = json.dumps({name: tensor}).encode()
    weights = struct.pack("<Q", len(header)) + header + bytes(4 * width)
    (directory / "adapter_model.safetensors").write_bytes(weights)
    return directory


def test_checked_adapter_has_its_rank_and_what_its_weights_look_like(tmp_path: Path) -> None:
    directory = write_adapter(tmp_path / "ko")
    (tmp_path / "link").symlink_to("ko")
    (adapter,) = read_adapters({"ko": tmp_path / "link"}, "base", SMOLLM2)
    status = (directory / "adapter_model.safetensors").stat()
    assert (adapter.name, adapter.directory, adapter.rank) == ("ko", directory.resolve(), 16)
    assert (adapter.bytes, adapter.mtime_ns) == (status.st_size, status.st_mtime_ns)


def _pickle(directory: Path) -> None:
    (directory / "adapter_model.safetensors").rename(directory / "adapter_model.bin")


def _cut(directory: Path) -> None:
    with (directory / "adapter_model.safetensors").open("r+b") as stream:
        stream.truncate(200)


def _no_json(directory: Path) -> None:
    (directory / "adapter_config.json").write_text("{", encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_pickle, "no adapter_model.safetensors"),
        (_cut, "its header asks for"),
        (_no_json, "adapter_config.json is not valid JSON"),
        (lambda path: write_adapter(path, peft_type="IA3"), "no LoRA adapter"),
        (lambda path: write_adapter(path, auto_map={}), "code of its own"),
        (lambda path: write_adapter(path, r=1000), "rank 1000"),
        (lambda path: write_adapter(path, r=True), "rank True"),
        (lambda path: write_adapter(path, width=4096), "for a model 4096 wide, this one is 576"),
    ],
)
def test_unfit_adapter_is_refused(tmp_path: Path, spoil: Callable[[Path], Any], says: str) -> None:
    spoil(write_adapter(tmp_path / "a"))
    with pytest.raises(QuantserveError, match=says) as caught:
        read_adapters({"a": tmp_path / "a"}, "base", SMOLLM2)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["base", "", "a/b", "../a", "a b", "x" * 200])
def test_name_is_a_plain_word_and_not_the_models(tmp_path: Path, name: str) -> None:
    with pytest.raises(QuantserveError, match="cannot be named"):
        read_adapters({name: write_adapter(tmp_path / "dir")}, "base", SMOLLM2)


def test_words_are_names_with_directories() -> None:
    assert parse_adapters(("a=/x", "b=y=z")) == {"a": Path("/x"), "b": Path("y=z")}


@pytest.mark.parametrize("words", [("a",), ("a=",), ("a=/x", "a=/y")])
def test_wrong_words_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(QuantserveError, match="NAME=DIRECTORY"):
        parse_adapters(words)


def test_background_server_gets_the_same_adapters() -> None:
    argv = serve_argv(Path("/m"), ServeOptions(lora=("a=/x", "b=/y")), RunDirectory(), 60)
    at = argv.index("--lora")
    assert argv[at : at + 4] == ["--lora", "a=/x", "--lora", "b=/y"]
