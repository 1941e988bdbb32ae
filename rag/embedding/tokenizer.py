"""Build the tokenizer of multilingual-e5-small in the form Hugging Face libraries read.

`tokenizer_class` has to be the plain fast class: with the XLM-R classes transformers 5 rebuilds the
pipeline from the vocabulary and the ids change.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quantserve.core.files import write_json
from quantserve.rag.embedding.e5_file import Vocabulary
from quantserve.rag.errors import EmbeddingModelError

MASK = "<mask>"
_NORMALISER_RULE = "nmt_nfkc"
_NORMALIZER_SPEC, _CHARSMAP = 3, 2
"""Field numbers in SentencePiece's ModelProto and NormalizerSpec."""
_LENGTH_DELIMITED = 2


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset
        shift += 7


def protobuf_field(message: bytes, number: int) -> bytes:
    """Return the first length-delimited field `number` of a message that holds only such fields before it.

    Raises:
        EmbeddingModelError: the field is not there.
    """
    offset = 0
    while offset < len(message):
        key, offset = _varint(message, offset)
        size, offset = _varint(message, offset)
        if key & 7 != _LENGTH_DELIMITED:
            continue  # a plain varint: what was read as a size was its value
        if key >> 3 == number:
            return message[offset : offset + size]
        offset += size
    raise EmbeddingModelError(
        "sentencepiece gives no normaliser table",
        mend="Install the pinned sentencepiece of requirements/rag.txt",
    )


def precompiled_charsmap() -> bytes:
    """Return SentencePiece's own table for NFKC with its additions, as the model was trained with."""
    from sentencepiece import SentencePieceNormalizer

    proto: bytes = SentencePieceNormalizer(rule_name=_NORMALISER_RULE).serialized_model_proto()
    return protobuf_field(protobuf_field(proto, _NORMALIZER_SPEC), _CHARSMAP)


def write_tokenizer(directory: Path, vocabulary: Vocabulary, max_tokens: int) -> None:
    """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json into `directory`."""
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
    )

    pieces = list(zip(vocabulary.pieces, vocabulary.scores, strict=True))
    bos, eos = vocabulary.pieces[vocabulary.bos], vocabulary.pieces[vocabulary.eos]
    pad, unk = vocabulary.pieces[vocabulary.pad], vocabulary.pieces[vocabulary.unk]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=vocabulary.unk, byte_fallback=False))
    # Unigram.__init__ and the component attributes are typed read-only in the stubs; setattr is their API.
    parts: dict[str, Any] = {
        "normalizer": normalizers.Sequence(
            [normalizers.Precompiled(precompiled_charsmap()), normalizers.Replace(Regex(" {2,}"), " ")]
        ),
        "pre_tokenizer": pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always"),
        "decoder": decoders.Metaspace(replacement="▁", prepend_scheme="always"),
        "post_processor": processors.TemplateProcessing(
            single=f"{bos} $A {eos}",
            pair=f"{bos} $A {eos} {eos} $B {eos}",
            special_tokens=[(bos, vocabulary.bos), (eos, vocabulary.eos)],
        ),
    }
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    specials = {
        "bos_token": bos,
        "eos_token": eos,
        "unk_token": unk,
        "sep_token": eos,
        "pad_token": pad,
        "cls_token": bos,
        "mask_token": MASK,
    }
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in (bos, pad, eos, unk)]
        + [AddedToken(MASK, special=True, lstrip=True, normalized=False)]
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    write_json(directory / "special_tokens_map.json", specials)
    write_json(
        directory / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": max_tokens,
            "padding_side": "right",
            "clean_up_tokenization_spaces": False,
            **specials,
        },
    )
