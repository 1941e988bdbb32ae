"""A broken tokenizer or chat template is one line before the work."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import sentencepiece

from quantserve.quantize.models.checks import CheckpointError
from quantserve.quantize.models.tokenizer import check_tokenizer, load_tokenizer
from tests.tiny_llama import write_tokenizer


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_tokenizer(tmp_path)
    return tmp_path


def test_a_sound_tokenizer_passes(directory: Path) -> None:
    check_tokenizer(directory)


@pytest.mark.parametrize("data", ["{}", '{"model": 5}', '{"version": "1.0", "model": {"type": "Evil"}}'])
def test_a_tokenizer_that_is_none_is_one_line(directory: Path, data: str) -> None:
    (directory / "tokenizer.json").write_text(data)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is no tokenizer: .*Fetch") as caught:
        check_tokenizer(directory)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}",
        "{{ m['role'",
        "{% endfor %}",
        "{% unknown %}",
        "{{ x | no_such_filter }}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    ],
)
def test_a_broken_template_is_one_line(directory: Path, template: str) -> None:
    (directory / "chat_template.jinja").write_text(template)
    with pytest.raises(
        CheckpointError, match=r"chat_template\.jinja is a chat template that cannot be read"
    ) as caught:
        check_tokenizer(directory)
    assert "\n" not in str(caught.value)


def test_a_template_is_found_wherever_it_stands(directory: Path) -> None:
    bad = "{% if %}"
    for name, content in {
        "tokenizer_config.json": json.dumps({"chat_template": bad}),
        "chat_template.json": json.dumps({"chat_template": bad}),
        "chat_templates/tool_use.jinja": bad,
    }.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        before = path.read_text() if path.is_file() else None
        path.write_text(content)
        with pytest.raises(CheckpointError, match=name):
            check_tokenizer(directory)
        path.unlink()
        if before is not None:
            path.write_text(before)


def test_a_named_template_is_checked_too(directory: Path) -> None:
    config = {"chat_template": [{"name": "tool_use", "template": "{% if %}"}]}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json \(tool_use\)"):
        check_tokenizer(directory)


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{% break %}{% endfor %}",
        "{% generation %}{{ messages[0].content }}{% endgeneration %}",
        "{{ raise_exception('no') }}{{ strftime_now('%Y') }}{{ tools | tojson(indent=2) }}",
        "{{ 9**9**9**9 }}",
    ],
)
def test_what_transformers_compiles_passes_and_nothing_is_computed(directory: Path, template: str) -> None:
    (directory / "chat_template.jinja").write_text(template)
    check_tokenizer(directory)


def test_a_template_that_is_not_utf_8_is_said(directory: Path) -> None:
    (directory / "chat_template.jinja").write_bytes(b"\xb0\xa1")
    with pytest.raises(CheckpointError, match="not UTF-8 at byte 0"):
        check_tokenizer(directory)


def test_a_tokenizer_that_transformers_cannot_load_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / "tokenizer.model").write_bytes(b"not sentencepiece")
    with pytest.raises(CheckpointError, match="tokenizer that cannot be loaded") as caught:
        check_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_sentencepiece_model_alone_is_a_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    train_pieces(tmp_path / "tokenizer.model")
    check_tokenizer(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.decode(tokenizer("lazy dog", add_special_tokens=False)["input_ids"]) == "lazy dog"


def train_pieces(path: Path) -> None:
    """Train a small SentencePiece model."""
    model = io.BytesIO()
    words = "the quick brown fox jumps over a lazy dog while many old people read long books"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([words] * 20),
        model_writer=model,
        vocab_size=320,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    path.write_bytes(model.getvalue())


def test_the_check_needs_no_transformers_where_there_is_a_fast_tokenizer(directory: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from quantserve.quantize.models.tokenizer import check_tokenizer; "
        f"check_tokenizer(Path({str(directory)!r})); sys.exit('transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
