"""What a model's tokenizer says of the languages it was made for, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quantserve.quantize.calibration.languages import readable


def readable_languages(model: Path) -> tuple[str, ...]:
    """Return the languages, of English and Korean, that a checkpoint's tokenizer was made for."""
    from tokenizers import Tokenizer

    from quantserve.quantize.models.tokenizer import load_tokenizer

    fast = model / "tokenizer.json"
    if fast.is_file():
        tokenizer = Tokenizer.from_file(str(fast))
        return readable(lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids))
    slow: Any = load_tokenizer(model)
    return readable(lambda text: len(slow(text, add_special_tokens=False)["input_ids"]))
