"""Which files and values of a base reach its artifact: the model's, all of them, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from tests.integration.quantize.foreign_files import shard, with_values
from tests.integration.quantize.home import SMALL, Home
from tests.tiny_llama import write_tiny_llama

NORM, DOWN = "model.norm.weight", "model.layers.1.mlp.down_proj.weight"
CARRIED = {
    "NOTICE": "who made it\n",
    "LICENSE-MODEL": "terms\n",
    "preprocessor_config.json": "{}",
    "processor_config.json": "{}",
    "chat_template.json": '{"chat_template": "{{ messages }}"}',
    "chat_templates/tools.jinja": "{{ tools }}",
    "extra.tiktoken": "IQ== 0\n",
    "spiece.model": "\n\x0e",
}
LEFT = {"README.md": "# card", "figure.png": "x", "modeling_tiny.py": "import os", "trainer_state.json": "{}"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    path = tmp_path_factory.mktemp("files")
    tiny = write_tiny_llama(path / "models" / "tiny")
    for name, content in {**CARRIED, **LEFT}.items():
        (tiny / name).parent.mkdir(exist_ok=True)
        (tiny / name).write_text(content)
    shard(path / "models" / "sharded", tiny)
    return Home(path)


def run(home: Home, model: str, *arguments: str) -> Path:
    status, result, err = home.call("run", "--model", f"models/{model}", *SMALL, *arguments)
    assert status == 0, err
    return home.path / result["artifact"]


def tensors(directory: Path) -> dict[str, Any]:
    """Return every tensor's type by name, of all files together."""
    found: dict[str, Any] = {}
    for path in directory.glob("*.safetensors"):
        with safe_open(path, framework="np") as file:
            found |= {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    return found


@pytest.mark.parametrize(
    "method", [("gptq",), ("int8", "--smoothing", "0"), ("bitsandbytes", "--bits", "4", "--target", "cuda")]
)
def test_weights_that_the_index_does_not_name_stay_out(home: Home, method: tuple[str, ...]) -> None:
    alone = tensors(run(home, "tiny", "--method", *method))
    assert tensors(run(home, "sharded", "--method", *method)) == alone


def test_what_belongs_to_the_base_goes_along(home: Home) -> None:
    directory = run(home, "tiny", "--method", "rtn")
    manifest = json.loads((directory / "manifest.json").read_text())
    for name, content in CARRIED.items():
        assert (directory / name).read_text() == content
        assert name in manifest["files"]
    assert [name for name in LEFT if (directory / name).exists()] == []


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_weight_that_is_no_number_is_refused_before_the_work(home: Home, value: float) -> None:
    name = f"broken{value}"
    with_values(home.path / "models" / name, {DOWN: value}, "BF16")
    status, _, err = home.call("run", "--model", f"models/{name}", *SMALL)
    assert status == 2
    assert f"'{DOWN}' holds a value that is NaN or infinite" in " ".join(err.split())
    assert not (home.path / "artifacts" / name).exists()


@pytest.mark.parametrize("dtype", ["BF16", "F32"])
@pytest.mark.parametrize(
    "method",
    [
        ("gptq", "--asymmetric"),
        ("rtn", "--symmetric", "--layout", "gptq"),
        ("rtn", "--symmetric", "--layout", "packed"),
        ("int8", "--smoothing", "0"),
    ],
)
def test_what_float16_cannot_hold_is_stored_in_bfloat16(
    home: Home, dtype: str, method: tuple[str, ...]
) -> None:
    name = f"wide-{dtype}"
    directory = home.path / "models" / name
    if not directory.exists():
        with_values(directory, {NORM: 1e5, DOWN: 1e6}, dtype)
    made = run(home, name, "--method", *method)
    config = json.loads((made / "config.json").read_text())
    assert (config["dtype"], config["beyond_float16"]) == ("bfloat16", True)
    found = tensors(made)
    assert "F16" not in {found[NORM], found["model.embed_tokens.weight"]}
    assert largest(made, NORM) == pytest.approx(1e5, rel=0.005)
    assert finite(made)


def largest(directory: Path, name: str) -> float:
    import torch

    with safe_open(directory / "model.safetensors", framework="pt") as file:
        return float(file.get_tensor(name).to(torch.float32).abs().max())


def finite(directory: Path) -> bool:
    import torch

    with safe_open(directory / "model.safetensors", framework="pt") as file:
        found = [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118
    return all(bool(torch.isfinite(t).all()) for t in found if t.is_floating_point())


def test_a_snapshot_in_the_hubs_cache_is_called_after_its_repository(home: Home) -> None:
    snapshot = home.path / "cache" / "models--owner--small" / "snapshots" / "0123456789abcdef"
    write_tiny_llama(snapshot)
    status, result, err = home.call("run", "--model", str(snapshot), "--method", "rtn")
    assert status == 0, err
    assert result["artifact"].startswith("artifacts/small/")
    manifest = json.loads((home.path / result["artifact"] / "manifest.json").read_text())
    assert (manifest["name"], manifest["base"]["id"]) == ("small", "owner/small")


def test_a_sentencepiece_model_alone_is_a_tokenizer(home: Home) -> None:
    directory = write_tiny_llama(home.path / "models" / "pieces")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (directory / name).unlink()
    train_pieces(directory / "tokenizer.model")
    made = run(home, "pieces", "--method", "gptq", "--calibration", "pydoc")
    assert (made / "tokenizer.model").read_bytes() == (directory / "tokenizer.model").read_bytes()


def train_pieces(path: Path) -> None:
    """Train a SentencePiece model of 280 pieces, within the tiny model's vocabulary."""
    import io

    import sentencepiece

    model = io.BytesIO()
    words = "the quick brown fox jumps over a lazy dog while many old people read long books"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([words] * 20),
        model_writer=model,
        vocab_size=280,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    path.write_bytes(model.getvalue())


def test_a_tokenizer_that_is_none_is_one_line(home: Home) -> None:
    directory = write_tiny_llama(home.path / "models" / "wordless")
    (directory / "tokenizer.json").write_text("{}")
    status, _, err = home.call("run", "--model", "models/wordless", "--method", "rtn")
    assert (status, "Traceback" in err) == (2, False)
    assert "tokenizer.json is no tokenizer" in " ".join(err.split())


def test_a_name_that_leaves_the_artifacts_is_refused(home: Home) -> None:
    status, _, err = home.call("run", "--model", "models/tiny", "--method", "rtn", "--name", "../x")
    assert (status, "cannot be an artifact's name" in err) == (2, True)
