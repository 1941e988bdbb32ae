"""Which files and values of a base reach its artifact: the model's, all of them, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.integration.quantize.foreign_files import shard, with_values
from tests.integration.quantize.home import SMALL, Home
from tests.tiny_llama import write_tiny_llama

STEM = "model.layers.1.mlp.down_proj"
NORM, DOWN = "model.norm.weight", f"{STEM}.weight"
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


SNAPSHOT = Path("cache/models--owner--small/snapshots/0123456789abcdef")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    path = tmp_path_factory.mktemp("files")
    snapshot = write_tiny_llama(path / SNAPSHOT)
    for name, content in {**CARRIED, **LEFT}.items():
        (snapshot / name).parent.mkdir(exist_ok=True)
        (snapshot / name).write_text(content)
    shard(path / "models" / "sharded", snapshot)
    return Home(path)


def run(home: Home, model: str, *arguments: str) -> Path:
    status, result, err = home.call("run", "--model", model, *SMALL, *arguments)
    assert status == 0, err
    return home.path / str(result["artifact"])


def tensors(directory: Path) -> dict[str, torch.Tensor]:
    """Return every tensor by name, of all files together."""
    found: dict[str, torch.Tensor] = {}
    for path in directory.glob("*.safetensors"):
        found |= load_file(path)
    return found


@pytest.mark.parametrize("method", [("gptq",), ("bitsandbytes", "--bits", "4", "--target", "cuda")])
def test_weights_that_the_index_does_not_name_stay_out(home: Home, method: tuple[str, ...]) -> None:
    base = tensors(home.path / SNAPSHOT)
    made = tensors(run(home, "models/sharded", "--method", *method))
    suffixes = ("qweight", "qzeros", "scales", "weight")
    assert {name.rpartition(".")[0] for name in made} == {name.rpartition(".")[0] for name in base}
    assert {name.rpartition(".")[2] for name in made} <= set(suffixes)
    # the stray file holds another tensor of this name
    assert torch.equal(made["model.embed_tokens.weight"], base["model.embed_tokens.weight"])


def test_what_belongs_to_the_base_goes_along_and_a_snapshot_is_called_after_its_repository(
    home: Home,
) -> None:
    directory = run(home, str(SNAPSHOT), "--method", "rtn")
    manifest = json.loads((directory / "manifest.json").read_text())
    assert (directory.parent.name, manifest["name"], manifest["base"]["id"]) == (
        "small",
        "small",
        "owner/small",
    )
    for name, content in CARRIED.items():
        assert (directory / name).read_text() == content
        assert name in manifest["files"]
    assert [name for name in LEFT if (directory / name).exists()] == []


def test_a_weight_that_is_no_number_is_refused_before_the_work(home: Home) -> None:
    with_values(home.path / "models" / "broken", {DOWN: float("nan")}, "BF16")
    status, _, err = home.call("run", "--model", "models/broken", *SMALL)
    assert status == 2
    assert f"'{DOWN}' holds a value that is NaN or infinite" in " ".join(err.split())
    assert not (home.path / "artifacts" / "broken").exists()


@pytest.mark.parametrize(
    ("dtype", "method"),
    [("BF16", ("gptq", "--asymmetric")), ("F32", ("rtn", "--symmetric", "--layout", "gptq"))],
)
def test_what_float16_cannot_hold_is_stored_in_bfloat16(
    home: Home, dtype: str, method: tuple[str, ...]
) -> None:
    with_values(home.path / "models" / f"wide-{dtype}", {NORM: 1e5, DOWN: 1e6}, dtype)
    directory = run(home, f"models/wide-{dtype}", "--method", *method)
    config = json.loads((directory / "config.json").read_text())
    assert (config["dtype"], config["beyond_float16"]) == ("bfloat16", True)
    made = tensors(directory)
    assert {name: made[name].dtype for name in (NORM, f"{STEM}.scales")} == {
        NORM: torch.bfloat16,
        f"{STEM}.scales": torch.bfloat16,
    }
    assert float(made[NORM].float().max()) == pytest.approx(1e5, rel=0.005)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in made.values() if tensor.is_floating_point())


def test_a_driver_that_writes_float16_is_refused_what_it_cannot_hold(home: Home) -> None:
    with_values(home.path / "models" / "wide", {NORM: 1e5}, "BF16")
    status, _, err = home.call(
        "run", "--model", "models/wide", *SMALL, "--method", "gptq", "--driver", "gptqmodel"
    )
    assert (status, "beyond float16, the type in which gptqmodel writes" in " ".join(err.split())) == (
        2,
        True,
    )


@pytest.mark.parametrize(
    "lost",
    [
        "model.layers.1.self_attn.k_proj.weight",
        "model.layers.0.input_layernorm.weight",
        NORM,
        "lm_head.weight",
    ],
)
def test_a_base_that_lacks_a_weight_is_refused_before_the_work(home: Home, lost: str, tmp_path: Path) -> None:
    directory = write_tiny_llama(tmp_path / "lacking")
    weights = load_file(directory / "model.safetensors")
    weights.pop(lost, None)  # the head is tied, and stands nowhere
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((directory / "config.json").read_text())
    config["tie_word_embeddings"] = lost != "lm_head.weight"
    (directory / "config.json").write_text(json.dumps(config))
    status, _, err = home.call("run", "--model", str(directory), "--method", "rtn", "--group-size", "32")
    assert status == 2
    assert f"lacks 1 of the weights that a LlamaForCausalLM of its config.json has, such as {lost}" in err
    assert not (home.path / "artifacts" / "lacking").exists()
