"""Pack documents into token sequences of one length, with the model's own tokenizer and chat template."""

from __future__ import annotations

import random
from typing import Any

from core.errors import InputError
from quantize.calibration.sources import Document


def pack(
    tokenizer: Any, documents: list[Document], *, sequences: int, sequence_tokens: int, seed: int
) -> list[list[int]]:
    """Return up to `sequences` lists of `sequence_tokens` token ids, drawn by `seed` in a fixed order.

    Raises:
        InputError: the text fills fewer than half the sequences asked for.
    """
    stream: list[int] = []
    for document in documents:
        if isinstance(document, str):
            stream += tokenizer(document, add_special_tokens=False)["input_ids"]
        else:
            text = tokenizer.apply_chat_template(document, tokenize=False)
            stream += tokenizer(text, add_special_tokens=False)["input_ids"]
        if tokenizer.eos_token_id is not None:
            stream.append(tokenizer.eos_token_id)
    whole = len(stream) // sequence_tokens
    if whole * 2 < sequences or whole == 0:
        raise InputError(
            f"The calibration text has {len(stream):,} tokens, enough for {whole} of the {sequences} "
            f"sequences of {sequence_tokens} tokens asked for",
            mend="Give more text (--calibration), or ask for fewer (--sequences) or shorter ones",
        )
    starts = list(range(0, whole * sequence_tokens, sequence_tokens))
    random.Random(seed).shuffle(starts)
    return [stream[start : start + sequence_tokens] for start in starts[:sequences]]
