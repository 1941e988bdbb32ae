"""A base model from the hub: what the model needs is downloaded, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fakes.hub import FakeHub
from tests.integration.quantize_lifecycle.conftest import Program
from tests.unit.quantize.checkpoints import TENSORS, make_checkpoint, safetensors_bytes

SHARD = "model-00001-of-00001.safetensors"
ALONG = {
    "LICENSE": b"terms",
    "NOTICE": b"who",
    "qwen.tiktoken": b"IQ== 0\n",
    "chat_templates/tools.jinja": b"{{ x }}",
}
LEFT = {
    "README.md": b"# card",
    "consolidated.safetensors": safetensors_bytes({"x": (2,)}),
    "pytorch_model.bin": b"\x80\x04.",
    "modeling_x.py": b"import os",
    "original/consolidated.00.pth": b"\x80\x04.",
    "original/params.json": b"{}",
    "onnx/model.onnx": b"x",
}


def files_of(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_what_the_index_names_and_what_goes_along_is_downloaded(program: Program, hub: FakeHub) -> None:
    model = files_of(make_checkpoint(program.path / "made"))
    model[SHARD] = model.pop("model.safetensors")
    index = {"weight_map": dict.fromkeys(TENSORS, SHARD)}
    model["model.safetensors.index.json"] = json.dumps(index).encode()
    hub.put("models", "owner/small", {**model, **ALONG, **LEFT})
    status, result, seen = program("model", "owner/small")
    assert status == 0, seen
    assert result["id"] == "owner/small"
    found = files_of(program.path / "models" / "small")
    assert set(found) - {"source.json"} == {*model, *ALONG}
    assert {name: found[name] for name in ALONG} == ALONG


def test_a_repository_without_an_index_gives_the_standard_file(program: Program, hub: FakeHub) -> None:
    hub.put("models", "owner/one", {**files_of(make_checkpoint(program.path / "made")), **LEFT})
    status, _, seen = program("model", "owner/one")
    assert status == 0, seen
    assert [path.name for path in (program.path / "models" / "one").glob("*.safetensors")] == [
        "model.safetensors"
    ]


def test_a_repository_of_pickles_alone_is_one_line(program: Program, hub: FakeHub) -> None:
    files = files_of(make_checkpoint(program.path / "made"))
    del files["model.safetensors"]
    hub.put("models", "owner/old", {**files, "pytorch_model.bin": b"\x80\x04."})
    status, _, seen = program("model", "owner/old")
    assert (status, "holds no *.safetensors" in seen) == (2, True)
