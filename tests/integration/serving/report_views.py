"""Say what serving.inspect_model makes of many checkpoints, in one process that imports vLLM once.

python tests/integration/serving/report_views.py FOLDER

Writes their configuration files into FOLDER/NAME and prints one line of JSON: for each name its refusal, or
its length and runner.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

SMALL = {"vocab_size": 256, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
LLAMA = {**SMALL, "architectures": ["LlamaForCausalLM"], "model_type": "llama", "intermediate_size": 128}
BERT = {**SMALL, "architectures": ["BertModel"], "model_type": "bert", "intermediate_size": 128}
SEQ2SEQ = {"d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "vocab_size": 256}
ROPE = {"rope_theta": 10000.0, "original_max_position_embeddings": 512}
CONFIGS: dict[str, dict[str, Any]] = {
    "positions": {**LLAMA, "max_position_embeddings": 512},
    "tokenizer": {**BERT, "max_position_embeddings": 512, "position_embedding_type": "absolute"},
    "tokenizer-of-a-decoder": {**LLAMA, "max_position_embeddings": 512},
    "sentences": {**BERT, "max_position_embeddings": 512},
    "linear": {
        **LLAMA,
        "max_position_embeddings": 512,
        "rope_scaling": {**ROPE, "rope_type": "linear", "factor": 4.0},
    },
    "yarn": {
        **LLAMA,
        "max_position_embeddings": 2048,
        "rope_scaling": {**ROPE, "rope_type": "yarn", "factor": 4.0},
    },
    "bart": {**SEQ2SEQ, "architectures": ["BartForConditionalGeneration"], "model_type": "bart"},
    "marian": {
        **SEQ2SEQ,
        "architectures": ["MarianMTModel"],
        "model_type": "marian",
        "pad_token_id": 0,
        "decoder_start_token_id": 0,
    },
    "t5": {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
        "d_model": 64,
        "num_layers": 2,
        "num_heads": 4,
        "vocab_size": 256,
    },
    "wav2vec2": {**SMALL, "architectures": ["Wav2Vec2ForCTC"], "model_type": "wav2vec2"},
    "question-answering": {
        **SMALL,
        "architectures": ["RobertaForQuestionAnswering"],
        "model_type": "roberta",
    },
    "labels-of-tokens": {**LLAMA, "architectures": ["LlamaForTokenClassification"]},
    "labels-of-tokens-by-bert": {**BERT, "architectures": ["BertForTokenClassification"]},
    "encoder-that-goes-on": {**BERT, "architectures": ["BertLMHeadModel"], "is_decoder": True},
    "images": {**SMALL, "architectures": ["ViTForImageClassification"], "model_type": "vit"},
    "segments": {"architectures": ["SamModel"], "model_type": "sam"},
    "unknown-class": {**LLAMA, "architectures": ["NoSuchForCausalLM"]},
    "unknown-type": {**SMALL, "architectures": ["NoSuchModel"], "model_type": "nosuch"},
    "no-longer": {
        "architectures": ["MPTForCausalLM"],
        "model_type": "mpt",
        "d_model": 64,
        "n_layers": 2,
        "n_heads": 4,
        "vocab_size": 256,
    },
}
BESIDE: dict[str, dict[str, dict[str, Any]]] = {
    "tokenizer": {"tokenizer_config.json": {"model_max_length": 99}},
    "tokenizer-of-a-decoder": {"tokenizer_config.json": {"model_max_length": 99}},
    "sentences": {"sentence_bert_config.json": {"max_seq_length": 128}, "modules.json": {}},
}


def main() -> None:
    os.environ.update({"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "CRITICAL"})
    from quantserve.serving.inspect_model import view_of
    from quantserve.serving.inspection import words_of

    said: dict[str, dict[str, Any]] = {}
    for name, config in CONFIGS.items():
        folder = Path(sys.argv[1]) / name
        folder.mkdir(parents=True)
        for file, content in {"config.json": config, **BESIDE.get(name, {})}.items():
            (folder / file).write_text(json.dumps(content))
        try:
            view = view_of(str(folder), [])
        except ValueError as error:
            said[name] = {"refusal": words_of(f"ValidationError: {error}", "")}
        else:
            said[name] = {"refusal": view.refusal, "length": view.max_length, "runner": view.runner}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
