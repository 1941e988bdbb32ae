from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from quantserve.serving import inspection
from quantserve.serving.errors import TargetError
from quantserve.serving.inspection import EngineView, Views, words_of
from quantserve.serving.model import read_model_facts
from quantserve.serving.target import resolve_target

SHAPE = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64, "vocab_size": 256}


def view(**changes: object) -> EngineView:
    given: dict[str, object] = {
        "architecture": "A",
        "runner": "generate",
        "convert": "none",
        "max_length": 300,
        "shape": {**SHAPE, "head_dim": 16, "num_key_value_heads": 2},
    }
    return EngineView(**{**given, **changes})  # type: ignore[arg-type]


def checkpoint(directory: Path, **config: object) -> Path:
    (directory / "config.json").write_text(json.dumps({"architectures": ["A"], **config}))
    (directory / "tokenizer.json").write_text("{}")
    header = b'{"w":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}'
    (directory / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    return directory


@pytest.mark.parametrize(
    ("config", "engine", "expected"),
    [
        ({"max_position_embeddings": 512}, 256, 256),  # sentence_bert_config.json says so
        ({"max_position_embeddings": 512}, 2048, 2048),  # rope scaling
        ({"n_positions": 1024}, 1024, 1024),
        ({}, 333, 333),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 514, 512),
        ({"text_config": {**SHAPE, "max_position_embeddings": 99}}, 77, 77),
    ],
)
def test_a_length_is_the_engines_own(
    tmp_path: Path, config: dict[str, object], engine: int, expected: int
) -> None:
    facts = read_model_facts(checkpoint(tmp_path, **{**SHAPE, **config}), view(max_length=engine))
    assert facts.max_length == expected


def test_a_shape_under_other_names_is_the_engines(tmp_path: Path) -> None:
    named = checkpoint(tmp_path, model_type="gpt2", n_embd=64, n_layer=2, n_head=4)
    facts = read_model_facts(named, view())
    assert (facts.layers, facts.attention_heads, facts.kv_heads, facts.head_dim) == (2, 4, 2, 16)
    with pytest.raises(TargetError, match="lacks 'num_attention_heads'"):
        read_model_facts(named)


def test_a_model_without_attention_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="has no attention heads"):
        read_model_facts(checkpoint(tmp_path), view(shape={**SHAPE, "num_attention_heads": 0}))


@pytest.mark.parametrize(
    ("runner", "convert", "task"),
    [("generate", "none", "generate"), ("pooling", "embed", "embed"), ("pooling", "classify", "classify")],
)
def test_what_a_model_is_for_is_the_engines_word(
    tmp_path: Path, runner: str, convert: str, task: str
) -> None:
    facts = read_model_facts(checkpoint(tmp_path, **SHAPE), view(runner=runner, convert=convert))
    assert facts.task == task


class Engine:
    """Counts how often it is asked."""

    def __init__(self, answer: dict[str, object]) -> None:
        self.answer = answer
        self.asked: list[list[str]] = []

    def __call__(self, directory: Path, flags: list[str]) -> dict[str, object]:
        self.asked.append(flags)
        return self.answer


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    asked = Engine({"release": "0.32.0", "view": asdict(view())})
    monkeypatch.setattr(inspection, "_ask", asked)
    monkeypatch.setattr(inspection, "_release", lambda: "0.32.0")
    return asked


def test_the_engine_is_asked_once_for_the_same_configuration(tmp_path: Path, engine: Engine) -> None:
    memory, model = tmp_path / "models.json", tmp_path / "model"
    model.mkdir()
    checkpoint(model, **SHAPE)
    flags = ("--hf-overrides", '{"a": 1}', "--seed", "4")
    for _ in range(2):
        assert Views(memory).of(model) == view()
    assert Views(memory, flags).of(model) == view()
    assert engine.asked == [[], ["--hf-overrides", '{"a": 1}']]
    (model / "sentence_bert_config.json").write_text('{"max_seq_length": 8}')
    Views(memory).of(model)
    (model / "tokenizer.json").write_text('{"other": 1}')  # large, and says no length
    Views(memory).of(model)
    assert len(engine.asked) == 3


def test_a_damaged_memory_is_asked_anew(tmp_path: Path, engine: Engine) -> None:
    (tmp_path / "models.json").write_text("{half")
    model = tmp_path / "model"
    model.mkdir()
    assert Views(tmp_path / "models.json").of(checkpoint(model, **SHAPE)) == view()


def test_without_an_engine_our_own_reading_is_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "_release", lambda: None)
    assert Views(tmp_path / "models.json").of(checkpoint(tmp_path, **SHAPE)) is None


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            {"view": asdict(view(refusal="it is an encoder-decoder"))},
            "model is not served: it is an encoder-decoder (A). Served are language models (decoders)",
        ),
        (
            {"problem": "Model architectures ['A'] are not supported for now"},
            "model is not served: Model arch",
        ),
    ],
)
def test_what_is_not_served_is_said_with_what_is(
    tmp_path: Path, engine: Engine, answer: dict[str, object], message: str
) -> None:
    engine.answer = answer
    model = tmp_path / "model"
    model.mkdir()
    checkpoint(model, **SHAPE)
    (model / "model.safetensors").unlink()  # whatever else is wrong with it comes after
    with pytest.raises(TargetError) as caught:
        resolve_target(model, views=Views(tmp_path / "models.json"))
    assert str(caught.value).startswith(message)
    assert caught.value.exit_code == 2


def test_a_pipeline_of_diffusion_models_is_not_served(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    with pytest.raises(TargetError, match="is not served: it is a pipeline of diffusion models"):
        resolve_target(tmp_path)


@pytest.mark.parametrize(
    ("problem", "log", "words"),
    [
        (
            "ValidationError: 1 validation error for ModelConfig\n  Value error, Model architectures ['A'] "
            "are not supported for now. Supported architectures: dict_keys(['B']) [type=value_error]",
            "",
            "Model architectures ['A'] are not supported for now",
        ),
        (
            "ValidationError: 1 validation error\n  Value error, Model architectures ['A'] failed to be "
            "inspected. Please check the logs for more details. [type=value_error]",
            "Traceback\nModuleNotFoundError: No module named 'torchvision'\n\nRuntimeError: in subprocess",
            "vLLM cannot load its code here: No module named 'torchvision'",
        ),
        ("OSError: no file", "", "OSError: no file"),
    ],
)
def test_vllms_reason_is_one_line(problem: str, log: str, words: str) -> None:
    assert words_of(problem, log) == words
