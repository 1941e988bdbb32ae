"""What a checkpoint's own files say about it: the facts that memory and dtype decisions need."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.errors import TargetError

_DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "float": 4, "half": 2}


@dataclass(frozen=True)
class ModelFacts:
    """Shape of a decoder as its config.json gives it; sizes in bytes, lengths in tokens."""

    architecture: str
    model_type: str
    layers: int
    hidden_size: int
    attention_heads: int
    kv_heads: int
    """Fewer than attention_heads under grouped-query attention, 1 under multi-query attention."""
    head_dim: int
    vocabulary: int
    max_length: int
    dtype: str
    """Number format the weights are stored in."""
    weight_bytes: int
    quantization: str | None
    """quant_method of the checkpoint, or None for plain weights."""
    tied_embeddings: bool = False
    """Whether words are read and predicted by one matrix."""

    @property
    def dtype_bytes(self) -> int:
        """Bytes of one stored unquantized weight."""
        return _DTYPE_BYTES.get(self.dtype, 2)

    def kv_bytes_per_token(self, element_bytes: float) -> float:
        """Bytes one token occupies in the KV cache: keys and values of every layer's KV heads."""
        return 2 * self.layers * self.kv_heads * self.head_dim * element_bytes


def _text_config(config: dict[str, Any]) -> dict[str, Any]:
    """Multimodal checkpoints keep the decoder's shape one level down."""
    nested = config.get("text_config")
    return {**config, **nested} if isinstance(nested, dict) else config


def read_model_facts(directory: Path) -> ModelFacts:
    """Read config.json and the sizes of the weight files.

    Raises:
        TargetError: config.json is missing, no JSON object, or lacks the decoder's shape.
    """
    path = directory / "config.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TargetError(
            f"{directory} is no checkpoint: it has no config.json",
            mend="Give a directory with config.json, *.safetensors and a tokenizer",
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise TargetError(f"{path} cannot be read: {error}", mend="Fetch the checkpoint again") from error
    if not isinstance(raw, dict):
        raise TargetError(f"{path} is not a JSON object", mend="Fetch the checkpoint again")
    config = _text_config(raw)
    try:
        heads = int(config["num_attention_heads"])
        hidden = int(config["hidden_size"])
        architectures = config.get("architectures") or ["unknown"]
        quantization = raw.get("quantization_config") or {}
        return ModelFacts(
            architecture=str(architectures[0]),
            model_type=str(config.get("model_type", "unknown")),
            layers=int(config["num_hidden_layers"]),
            hidden_size=hidden,
            attention_heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or hidden // heads),
            vocabulary=int(config["vocab_size"]),
            max_length=int(config.get("max_position_embeddings") or 2048),
            dtype=str(config.get("dtype") or config.get("torch_dtype") or "float32"),
            weight_bytes=sum(file.stat().st_size for file in directory.glob("*.safetensors")),
            quantization=str(quantization["quant_method"]) if "quant_method" in quantization else None,
            tied_embeddings=bool(config.get("tie_word_embeddings", False)),
        )
    except KeyError as error:
        raise TargetError(
            f"{path} lacks {error}, so it is no decoder this program can plan for",
            mend="Give a causal language model's checkpoint",
        ) from error
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise TargetError(f"{path} holds an impossible value: {error}", mend="Fetch it again") from error
