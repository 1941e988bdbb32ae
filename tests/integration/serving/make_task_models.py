"""Write tiny random checkpoints for the tasks beside chat, and LoRA adapters; needs torch and transformers.

python tests/integration/serving/make_task_models.py DIRECTORY TINY_LLAMA

DIRECTORY/{embedding,rerank,classification,whisper}   checkpoints
DIRECTORY/adapters/{shout,whisper}                    adapters of the model in TINY_LLAMA
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    GenerationConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)
from transformers.models.whisper.tokenization_whisper import LANGUAGES

_WORDS = 64
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def bert_tokenizer(directory: Path) -> int:
    """A character tokenizer with BERT's frame; returns its vocabulary's size."""
    letters = sorted({chr(code) for code in range(33, 127)} | {"▁"})
    vocabulary = {word: i for i, word in enumerate([*_SPECIAL, *letters])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    wrap: Any = PreTrainedTokenizerFast  # the library ships no types for it
    fast = wrap(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    fast.save_pretrained(directory)
    return len(vocabulary)


def bert(directory: Path, build: Any, **more: Any) -> None:
    """One encoder of 64 numbers a token."""
    directory.mkdir(parents=True)
    size = bert_tokenizer(directory)
    config = BertConfig(
        vocab_size=size,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=256,
        pad_token_id=0,
        # Random weights of the usual 0.02 would give every text the same answer.
        initializer_range=0.5,
        **more,
    )
    build(config).to(torch.float32).save_pretrained(directory)


def whisper(directory: Path) -> None:
    """The speech model's shape with a byte-level vocabulary and its special tokens in the right order."""
    directory.mkdir(parents=True)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate(letters)}
    (directory / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (directory / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    special = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in LANGUAGES)]
    special += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>"]
    special += ["<|notimestamps|>", *(f"<|{i * 0.02:.2f}|>" for i in range(1501))]
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    make: Any = WhisperTokenizer
    made = make(tokenizer_object=tokenizer, language="en", task="transcribe")
    made.save_pretrained(directory)
    tokenizer.save(str(directory / "tokenizer.json"))
    ids = {word: len(vocabulary) + i for i, word in enumerate(special)}
    make_extractor: Any = WhisperFeatureExtractor
    make_extractor(feature_size=80).save_pretrained(directory)
    config = WhisperConfig(
        vocab_size=len(vocabulary) + len(special),
        num_mel_bins=80,
        d_model=64,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        max_source_positions=1500,
        max_target_positions=448,
        bos_token_id=ids["<|endoftext|>"],
        eos_token_id=ids["<|endoftext|>"],
        pad_token_id=ids["<|endoftext|>"],
        decoder_start_token_id=ids["<|startoftranscript|>"],
        init_std=0.5,
    )
    build: Any = WhisperForConditionalGeneration
    model = build(config).to(torch.float32)
    with torch.no_grad():  # special tokens leave no text: let it say letters
        model.model.decoder.embed_tokens.weight[len(vocabulary) :] *= 0.01
    make_generation: Any = GenerationConfig
    model.generation_config = make_generation(
        eos_token_id=ids["<|endoftext|>"], decoder_start_token_id=ids["<|startoftranscript|>"]
    )
    model.save_pretrained(directory)


def adapter(directory: Path, base: LlamaConfig, seed: int) -> None:
    """A LoRA adapter in PEFT's format, strong enough to change every answer."""
    directory.mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)
    wide = base.num_attention_heads * (base.head_dim or base.hidden_size // base.num_attention_heads)
    tensors: dict[str, torch.Tensor] = {}
    for layer in range(base.num_hidden_layers):
        stem = f"base_model.model.model.layers.{layer}.self_attn"
        for name, width, out in (("q_proj", base.hidden_size, wide), ("o_proj", wide, base.hidden_size)):
            tensors[f"{stem}.{name}.lora_A.weight"] = torch.randn(8, width, generator=generator)
            tensors[f"{stem}.{name}.lora_B.weight"] = torch.randn(out, 8, generator=generator)
    save_file(tensors, str(directory / "adapter_model.safetensors"))
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "tiny",
        "r": 8,
        "lora_alpha": 16,
        "target_modules": ["q_proj", "o_proj"],
        "bias": "none",
    }
    (directory / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")


def main(directory: Path, tiny: Path) -> None:
    torch.manual_seed(11)
    bert(directory / "embedding", BertModel)
    labels = {0: "bad", 1: "good", 2: "mixed"}
    bert(directory / "rerank", BertForSequenceClassification, num_labels=1)
    bert(directory / "classification", BertForSequenceClassification, id2label=labels)
    whisper(directory / "whisper")
    base = LlamaConfig.from_pretrained(tiny)
    adapter(directory / "adapters/shout", base, 1)
    adapter(directory / "adapters/whisper", base, 2)
    broken = directory / "adapters/broken"
    shutil.copytree(directory / "adapters/shout", broken)
    (broken / "adapter_model.safetensors").rename(broken / "adapter_model.bin")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
