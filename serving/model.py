"""What a checkpoint's own files say about it: the facts that task, memory and dtype decisions need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from quantserve.core.checkpoints import WeightFiles, find_weights, quantization_in_config
from quantserve.core.json_input import read_json_object
from quantserve.serving.errors import TargetError
from quantserve.serving.inspection import EngineView

Task = Literal["generate", "embed", "score", "classify", "transcribe"]
TASKS: tuple[Task, ...] = get_args(Task)

_DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "float": 4, "half": 2}
# Encoders read the whole text at once and keep no cache.
_ENCODERS = frozenset(
    {
        "bert",
        "roberta",
        "xlm-roberta",
        "camembert",
        "electra",
        "modernbert",
        "nomic_bert",
        "deberta-v2",
        "new",
    }
)
# Their positions begin behind the padding token's.
_SHIFTED_POSITIONS = frozenset({"roberta", "xlm-roberta", "camembert"})
_SPEECH = frozenset({"whisper"})
# What stands in the chat templates of each family → vLLM's parser for it; the first that is found counts.
_TOOL_MARKS = (
    ("[TOOL_CALLS]", "mistral"),
    ("<function=", "qwen3_coder"),
    ("<tool_call>", "hermes"),
    ("<|python_tag|>", "llama3_json"),
    ('"parameters": dictionary of argument name', "llama3_json"),
)


@dataclass(frozen=True)
class ModelFacts:
    """Shape of a model as its config.json gives it; sizes in bytes, lengths in tokens."""

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
    task: Task = "generate"
    """What the checkpoint was made for, by its architecture."""
    causal: bool = True
    """False for encoders, which keep no KV cache."""
    sliding_window: int | None = None
    """Tokens a layer with a sliding window looks back."""
    sliding_layers: int = 0
    """How many of the layers have one."""
    latent_width: int | None = None
    """Numbers a token and layer keeps under multi-head latent attention (DeepSeek-V2, arXiv:2405.04434)."""
    encoder_tokens: int = 0
    """Positions of an audio encoder, which each request's cross attention caches, too."""
    tool_parser: str | None = None
    """vLLM's name for the way the chat template writes tool calls, None where it writes none."""
    tied_embeddings: bool = False
    """Whether words are read and predicted by one matrix."""
    beyond_float16: bool = False
    """Whether some weights are so large that float16 makes infinities of them; quantize says so."""
    foreign_weights: tuple[str, ...] = ()
    """Safetensors files beside the model's own, which its index does not name."""

    @property
    def dtype_bytes(self) -> int:
        """Bytes of one stored unquantized weight."""
        return _DTYPE_BYTES.get(self.dtype, 2)

    @property
    def attention(self) -> str:
        """Name of the way keys and values are kept, for people."""
        if not self.causal:
            return "an encoder keeps no cache"
        if self.latent_width is not None:
            return f"MLA: {self.latent_width} numbers a layer"
        if self.kv_heads == self.attention_heads:
            return f"MHA: all {self.attention_heads} heads are cached"
        kind = "MQA" if self.kv_heads == 1 else "GQA"
        return f"{kind}: {self.kv_heads} of {self.attention_heads} heads are cached"

    def layer_bytes_per_token(self, element_bytes: float, tensor_parallel: int = 1) -> float:
        """Bytes one token occupies in one layer's cache on each of `tensor_parallel` devices.

        Keys and values of the KV heads, each at least once on every device; a latent is kept whole on all.
        """
        if not self.causal:
            return 0.0
        if self.latent_width is not None:
            return self.latent_width * element_bytes
        return 2 * -(-self.kv_heads // tensor_parallel) * self.head_dim * element_bytes

    def kv_bytes_per_token(self, element_bytes: float) -> float:
        """Bytes one token occupies in the KV cache of all layers."""
        return self.layers * self.layer_bytes_per_token(element_bytes)


def read_chat_template(directory: Path) -> str:
    """Return the chat template, beside the tokenizer or in its configuration; "" without one."""
    own = directory / "chat_template.jinja"
    if own.is_file():
        return own.read_text(encoding="utf-8", errors="replace")
    for name in ("chat_template.json", "tokenizer_config.json"):
        path = directory / name
        template = read_json_object(path, error=TargetError).get("chat_template") if path.is_file() else ""
        if isinstance(template, str) and template:
            return template
    return ""


def tool_parser_of(template: str) -> str | None:
    """Tell from a chat template's own words how the model writes tool calls."""
    return next((parser for mark, parser in _TOOL_MARKS if mark in template), None)


def _text_config(config: dict[str, Any]) -> dict[str, Any]:
    """Multimodal checkpoints keep the decoder's shape one level down."""
    nested = config.get("text_config")
    return {**config, **nested} if isinstance(nested, dict) else config


def _decoder_of_speech(config: dict[str, Any]) -> dict[str, Any]:
    """Whisper names its decoder's shape in its own way."""
    return {
        **config,
        "num_hidden_layers": config["decoder_layers"],
        "num_attention_heads": config["decoder_attention_heads"],
        "hidden_size": config["d_model"],
        "max_position_embeddings": config["max_target_positions"],
    }


def task_of(config: dict[str, Any], directory: Path) -> Task:
    """Tell from the architecture what a checkpoint is for."""
    architecture = str((config.get("architectures") or ["unknown"])[0])
    if config.get("model_type") in _SPEECH:
        return "transcribe"
    if architecture.endswith("ForSequenceClassification"):
        labels = config.get("id2label")
        count = len(labels) if isinstance(labels, dict) else int(config.get("num_labels") or 2)
        return "score" if count == 1 else "classify"
    # sentence-transformers adds modules.json to whatever model it made an embedding of.
    if (directory / "modules.json").is_file() or config.get("model_type") in _ENCODERS:
        return "embed"
    return "embed" if architecture.endswith("Model") else "generate"


def _task(raw: dict[str, Any], directory: Path, view: EngineView | None) -> Task:
    task = task_of(raw, directory)
    if view is not None and view.runner == "pooling" and task == "generate":
        return "classify" if view.convert == "classify" else "embed"
    return task


def _sliding(config: dict[str, Any], layers: int) -> tuple[int | None, int]:
    """Return the window and how many layers have it, as transformers' configs say it."""
    window = config.get("sliding_window")
    if not window or config.get("use_sliding_window") is False:
        return None, 0
    kinds = config.get("layer_types")
    if isinstance(kinds, list):
        return int(window), sum(kind == "sliding_attention" for kind in kinds)
    pattern = config.get("sliding_window_pattern")
    if isinstance(pattern, int) and pattern > 1:  # each so-manieth layer sees everything
        return int(window), layers - layers // pattern
    return int(window), layers


def read_config(directory: Path) -> dict[str, Any]:
    """Read config.json.

    Raises:
        TargetError: it is missing, or no JSON object.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise TargetError(
            f"{directory} is no checkpoint: it has no config.json",
            mend="Give a directory with config.json, *.safetensors and a tokenizer",
        )
    return read_json_object(path, error=TargetError, mend="Fetch the checkpoint again")


def read_model_facts(
    directory: Path,
    view: EngineView | None = None,
    *,
    config: dict[str, Any] | None = None,
    weights: WeightFiles | None = None,
) -> ModelFacts:
    """Read config.json and the sizes of the weight files, unless they are given.

    Where vLLM was asked, its view goes before ours.

    Raises:
        TargetError: config.json is missing, no JSON object, or lacks the model's shape; or a weight file
            is missing.
    """
    path = directory / "config.json"
    raw = read_config(directory) if config is None else config
    files = weights or _weights(directory, raw)
    try:
        return _facts(raw, directory, files, view)
    except KeyError as error:
        raise TargetError(
            f"{path} lacks {error}, so it is no model this program can plan for",
            mend="Give a language, embedding, classification or Whisper model's checkpoint",
        ) from error
    except (TypeError, ValueError, ZeroDivisionError, AttributeError, OverflowError) as error:
        raise TargetError(f"{path} holds an impossible value: {error}", mend="Fetch it again") from error


def _weights(directory: Path, config: dict[str, Any]) -> WeightFiles:
    """Return the weight files; a bare config.json, of which a plan can be made too, has none."""
    if not any(directory.glob("*.safetensors")):
        return WeightFiles(directory, ())
    return find_weights(directory, config, error=TargetError)


def _facts(raw: dict[str, Any], directory: Path, weights: WeightFiles, view: EngineView | None) -> ModelFacts:
    config = _text_config(raw)
    if view is not None:  # GPT-2 and others name their shape in their own way
        config |= {name: value for name, value in view.shape.items() if config.get(name) is None}
    kind = str(config.get("model_type", "unknown"))
    if kind in _SPEECH:
        config = _decoder_of_speech(config)
    heads, layers = int(config["num_attention_heads"]), int(config["num_hidden_layers"])
    if heads == 0 and view is not None:
        raise TargetError(
            f"{directory.name} has no attention heads, so its memory cannot be planned for",
            mend="Serve a model with attention; state-space models are not",
        )
    hidden = int(config["hidden_size"])
    quantization = quantization_in_config(raw) or {}
    length = int(config.get("max_position_embeddings") or 2048)
    if kind in _SHIFTED_POSITIONS:
        length -= int(config.get("pad_token_id") or 0) + 1
    if view is not None:
        length = min(view.max_length, length) if kind in _SHIFTED_POSITIONS else view.max_length
    window, sliding_layers = _sliding(config, layers)
    latent = config.get("kv_lora_rank")
    return ModelFacts(
        architecture=str((config.get("architectures") or ["unknown"])[0]),
        model_type=kind,
        layers=layers,
        hidden_size=hidden,
        attention_heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        head_dim=int(config.get("head_dim") or hidden // heads),
        vocabulary=int(config["vocab_size"]),
        max_length=length,
        dtype=str(config.get("dtype") or config.get("torch_dtype") or "float32"),
        weight_bytes=weights.size_bytes,
        quantization=str(quantization["quant_method"]) if "quant_method" in quantization else None,
        tied_embeddings=bool(config.get("tie_word_embeddings", False)),
        task=_task(raw, directory, view),
        causal=kind not in _ENCODERS and (view is None or view.attention != "encoder_only"),
        sliding_window=window if sliding_layers else None,
        sliding_layers=sliding_layers,
        latent_width=int(latent) + int(config["qk_rope_head_dim"]) if latent else None,
        encoder_tokens=int(config["max_source_positions"]) if kind in _SPEECH else 0,
        tool_parser=tool_parser_of(read_chat_template(directory)),
        beyond_float16=bool(raw.get("beyond_float16", False)),
        foreign_weights=tuple(path.name for path in weights.foreign),
    )
