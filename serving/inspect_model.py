"""What vLLM's own configuration code makes of a checkpoint, as a line of JSON; a program of its own.

    python -m quantserve.serving.inspect_model DIRECTORY [vLLM's flags]

vLLM takes half a minute of processor to import, which the launcher never does. Nothing is loaded or computed:
its ModelConfig reads the configuration files and asks its registry, as the engine does at its start.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from quantserve.serving.inspection import EngineView

_SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}


def view_of(directory: str, flags: list[str]) -> EngineView:
    """Ask vLLM.

    Raises:
        ValueError: vLLM's own, pydantic's among them: it does not take the checkpoint.
    """
    from vllm.engine.arg_utils import EngineArgs
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = EngineArgs.add_cli_args(FlexibleArgumentParser())
    # no number format of this machine's is asked about here: the plan chooses one it has measured
    words = ["--model", directory, "--tokenizer", directory, "--dtype", "float32", *flags]
    config = EngineArgs.from_cli_args(parser.parse_args(words)).create_model_config()
    info, _ = config.registry.inspect_model_cls(config.architectures, config)
    shape = config.model_arch_config
    return EngineView(
        architecture=config.architecture,
        runner=config.runner_type,
        convert=config.convert_type,
        max_length=config.max_model_len,
        refusal=_refusal(config, info),
        attention=str(config.attn_type),
        shape={
            "hidden_size": shape.hidden_size,
            "num_hidden_layers": shape.total_num_hidden_layers,
            "num_attention_heads": shape.total_num_attention_heads,
            "num_key_value_heads": shape.total_num_kv_heads,
            "head_dim": shape.head_size,
            "vocab_size": shape.vocab_size,
        },
    )


def _refusal(config: Any, info: Any) -> str:
    """Return why what vLLM's registry lets pass would die while it loads or answer nothing; "" if it serves.

    The registry wraps every class of transformers that it does not know as if it were a decoder.
    """
    import transformers
    from transformers.models.auto import modeling_auto

    original = (config.hf_config.architectures or [config.architecture])[0]
    labelling = set(modeling_auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES.values())
    filling_in = set(modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES.values())
    # Of some that fill in, vLLM makes embedding models under other names; those that label it wraps.
    if original in labelling or info.architecture in labelling | filling_in:
        return "it labels or fills in single tokens, for which there is no endpoint"
    if config.is_encoder_decoder and not info.supports_transcription:
        return "it is an encoder-decoder, of which vLLM runs those that transcribe speech alone"
    if not config.using_transformers_backend():
        return ""
    model = getattr(transformers, original, None)
    if model is None:
        return ""  # vLLM has said what it thinks of it
    if model.main_input_name != "input_ids":
        return f"it reads {model.main_input_name}, not text"
    judging = set(modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.values())
    embedding = {name for names in modeling_auto.MODEL_MAPPING_NAMES.values() for name in _each(names)}
    if config.runner_type == "generate":
        # The wrapper reads the weights of a plain lm_head; encoders made decoders bring another head.
        tied = getattr(model, "_tied_weights_keys", None) or ("lm_head.weight",)
        serves = model.can_generate() and "lm_head.weight" in tied
    else:  # a wrapped encoder takes no weights of another head; a decoder's is left out
        serves = original in judging | embedding or config.attn_type == "decoder"
    return "" if serves else "it generates no text, embeds none and judges none"


def _each(names: str | Sequence[str]) -> Sequence[str]:
    """transformers names one base class of most kinds, and several of some."""
    return (names,) if isinstance(names, str) else names


def main() -> None:
    """Print the view, or why there is none."""
    os.environ.update(_SETTINGS)
    import vllm

    release = vllm.__version__
    try:
        answer: dict[str, Any] = {"view": asdict(view_of(sys.argv[1], sys.argv[2:]))}
    except (ValueError, OSError, KeyError, AttributeError, TypeError, ImportError) as error:
        answer = {"problem": f"{type(error).__name__}: {error}"}
    sys.stdout.write(f"\n{json.dumps({'release': release, **answer})}\n")


if __name__ == "__main__":
    main()
