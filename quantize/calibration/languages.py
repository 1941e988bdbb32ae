"""Which language a text is in, decided by script, and which a tokenizer was made for.

Hangul is Korean, kana Japanese, Han alone Chinese. Latin letters are English unless the text is long enough
to tell and has accented letters but hardly any English function word; then they are "other", like every
other script. Code counts as English, the language of its keywords.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

_HANGUL = re.compile(r"[\uac00-\ud7a3\u1100-\u11ff\u3131-\u318e]")
_KANA = re.compile(r"[\u3040-\u30ff]")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")
_ACCENTED = re.compile(r"[\u00c0-\u024f]")
_FUNCTION_WORDS = re.compile(
    r"\b(?:the|of|and|to|in|is|that|for|it|as|with|was|on|be|by|this|are|from|or|an|at|not|have|you)\b",
    re.IGNORECASE,
)
_ENOUGH_WORDS = 30
# English prose has 30 to 45 % of these words and next to no accented letters.
_MIN_FUNCTION_WORDS = 0.08
_MAX_ACCENTED = 0.01

# One everyday sentence of each language, and the tokens per character up to which a tokenizer counts as
# made for it. Measured in Korean: multilingual-e5 0.49; SmolLM2, English only, spells it in bytes at 2.06.
_SAMPLES = {
    "en": (
        "At today's meeting we will review next quarter's budget and staffing plan, and set a new date for "
        "the server replacement postponed last month.",
        0.5,
    ),
    "ko": (
        "오늘 회의에서는 다음 분기의 예산과 인력 계획을 함께 살펴보고, 지난달에 미뤄 둔 서버 교체 일정을 "
        "다시 정하기로 했다.",
        1.2,
    ),
}


def language_shares(text: str) -> dict[str, float]:
    """Return each language's share of a text's letters; empty when it has none."""
    hangul, kana, han, latin = (len(script.findall(text)) for script in (_HANGUL, _KANA, _HAN, _LATIN))
    counts = Counter({"ko": hangul})
    # Korean and Japanese text quotes Chinese characters; alone they are Chinese.
    counts["ja" if kana else "ko" if hangul > han else "zh"] += kana + han
    counts["en" if _is_english(text) else "other"] += latin
    counts["other"] += max(sum(c.isalpha() for c in text) - hangul - kana - han - latin, 0)
    total = counts.total()
    return {name: count / total for name, count in sorted(counts.items()) if count}


def _is_english(text: str) -> bool:
    """Whether a text's Latin letters are English, or too few to tell."""
    words = re.findall(r"[A-Za-z\u00c0-\u024f]+", text)
    if len(words) < _ENOUGH_WORDS:
        return True
    accented = len(_ACCENTED.findall(text)) / sum(map(len, words))
    function_words = len(_FUNCTION_WORDS.findall(text)) / len(words)
    return accented <= _MAX_ACCENTED or function_words >= _MIN_FUNCTION_WORDS


def readable_by(count_tokens: Callable[[str], int]) -> tuple[str, ...]:
    """Return the languages, of English and Korean, that a tokenizer was made for."""
    return tuple(name for name, (text, most) in _SAMPLES.items() if count_tokens(text) / len(text) <= most)


def readable_languages(model: Path) -> tuple[str, ...]:
    """Return the languages, of English and Korean, that a checkpoint's tokenizer was made for."""
    from tokenizers import Tokenizer

    from quantserve.quantize.models.tokenizer import load_tokenizer

    fast = model / "tokenizer.json"
    if fast.is_file():
        tokenizer = Tokenizer.from_file(str(fast))
        return readable_by(lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids))
    slow: Any = load_tokenizer(model)
    return readable_by(lambda text: len(slow(text, add_special_tokens=False)["input_ids"]))
