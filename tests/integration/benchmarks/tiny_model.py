"""Make a tiny Llama with a word tokenizer: `python tiny_model.py DIRECTORY`, in the serving environment."""

from __future__ import annotations

import sys
from typing import Any

import tokenizers
import torch
import transformers


def main(directory: str) -> None:
    """Save a random model of two small layers."""
    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[EOS]", *(f"w{number}" for number in range(125))]
    raw: Any = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]")
    )
    raw.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    make_tokenizer: Any = transformers.PreTrainedTokenizerFast
    tokenizer = make_tokenizer(tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]", eos_token="[EOS]")
    tokenizer.save_pretrained(directory)
    config = transformers.LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        eos_token_id=2,
        pad_token_id=0,
        bos_token_id=2,
    )
    make_model: Any = transformers.LlamaForCausalLM
    make_model(config).save_pretrained(directory)


if __name__ == "__main__":
    main(sys.argv[1])
