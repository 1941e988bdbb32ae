"""Numbers and units in one spelling: 1,000 as one thousand, $5 as 5 dollars, 3만 as 30000, % as 퍼센트."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from decimal import Decimal

_THOUSANDS = re.compile(r"(?<![\d,.])(\d{1,3}(?:,\d{3})+)(?!,?\d)")
_SET_OFF = re.compile(r"(?<=\d)[^\W\d_a-zA-Z가-힣]")
_RANGE = re.compile(r"(?<=\d)\s?[–—~∼〜]\s?(?=\d)")
_TO_NINETEEN = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen
"""
_BY_TEN = "twenty thirty forty fifty sixty seventy eighty ninety"
_ENGLISH = {
    **{word: value for value, word in enumerate(_TO_NINETEEN.split())},
    **{word: 10 * value for value, word in enumerate(_BY_TEN.split(), 2)},
}
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_DIGITS = {"영": 0, "공": 0, **{digit: value for value, digit in enumerate("일이삼사오육칠팔구", 1)}}
_TENS = {"십": 10, "백": 100, "천": 1_000}
_MYRIADS = {"만": 10**4, "억": 10**8, "조": 10**12}
_SCALED = r"(?<!\d)\d{1,15}(?:\.\d{1,15})?\s?(?:[천백십]?[만억조]|[천백](?=\s?원|\s?명|\s?개|\s?건))"
_KOREAN_SCALED = re.compile(rf"{_SCALED}(?:\s?{_SCALED}){{0,5}}(?:\s?\d{{1,15}}(?=\s?원))?")
_NATIVE = {
    "한": 1, "하나": 1, "두": 2, "둘": 2, "세": 3, "셋": 3, "석": 3, "네": 4, "넷": 4, "넉": 4, "다섯": 5,
    "여섯": 6, "일곱": 7, "여덟": 8, "아홉": 9, "열": 10, "스무": 20, "스물": 20, "서른": 30, "마흔": 40,
    "쉰": 50, "예순": 60, "일흔": 70, "여든": 80, "아흔": 90,
}  # fmt: skip
DAYS = {
    "하루": 1, "이틀": 2, "사흘": 3, "나흘": 4, "닷새": 5, "엿새": 6, "이레": 7, "여드레": 8, "아흐레": 9,
    "열흘": 10, "보름": 15,
}  # fmt: skip
"""Words that are a number of days."""
UNITS = {
    "$": "$", "usd": "$", "dollar": "$", "달러": "$", "€": "€", "eur": "€", "euro": "€", "유로": "€",
    "£": "£", "gbp": "£", "₩": "₩", "krw": "₩", "won": "₩", "원": "₩", "¥": "¥", "yen": "¥", "엔": "¥",
    "%": "%", "percent": "%", "퍼센트": "%", "프로": "%", "℃": "°c", "°c": "°c", "℉": "°f", "°f": "°f",
}  # fmt: skip
"""Signs and words of one unit."""
_MOST_SYMBOL = 4
"""Letters of the longest symbol of a unit (Gbit)."""
CURRENCY = "$€£₩¥"


def plain_numbers(text: str) -> str:
    """Normalise a text (NFKC): 1,000 is 1000, 5–10 is 5-10, 1½ is 1 1/2, and 10⁶ is 10^6, not 106."""
    text = unicodedata.normalize("NFKC", _SET_OFF.sub(_set_off, text)).replace("\u2044", "/")
    return _RANGE.sub("-", _THOUSANDS.sub(lambda match: match[1].replace(",", ""), text))


def is_symbol(word: str) -> bool:
    """Whether a word behind a number is a symbol that another case would turn into another unit (Mb, MB)."""
    symbol = word.partition("/")[0]
    is_mixed = not symbol.islower() and not symbol.isupper()
    return symbol.isalpha() and (len(symbol) == 1 or (len(symbol) <= _MOST_SYMBOL and is_mixed))


def _set_off(match: re.Match[str]) -> str:
    """Keep a raised figure, a fraction or a figure in a circle from growing into the number before it."""
    form = unicodedata.decomposition(match[0]).partition(" ")[0]
    return ("^" if form == "<super>" else " " if form.startswith("<") else "") + match[0]


def english_number(words: Sequence[str]) -> tuple[str, int]:
    """Read a number written in words at the beginning of `words`; return its digits and how many words.

    Digits may stand before a scale (5 million). ("", 0) where there is none.
    """
    total = current = 0
    taken = 0
    for index, word in enumerate(words):
        if word in _ENGLISH:
            current += _ENGLISH[word]
        elif index == 0 and word.isdigit() and len(words) > 1 and words[1] in _SCALES:
            current = int(word)
        elif word in _SCALES:
            scaled = max(1, current) * _SCALES[word]
            current, total = (scaled, total) if word == "hundred" else (0, total + scaled)
        elif word == "and" and taken and index + 1 < len(words) and words[index + 1] in _ENGLISH:
            if words[index - 1] not in _SCALES:
                break
            continue
        else:
            break
        taken = index + 1
    return (str(total + current), taken) if taken else ("", 0)


def korean_scaled(text: str) -> str:
    """Write 3만 5천 as 35000 and 1억 5천만 as 150000000, digits before a scale."""

    def scaled(match: re.Match[str]) -> str:
        return f" {_scaled_value(match[0])} "

    return _KOREAN_SCALED.sub(scaled, text)


def _scaled_value(text: str) -> str:
    total = Decimal(0)
    for number, scales in re.findall(r"(\d+(?:\.\d+)?)\s?([천백십]?[만억조]?)", text):
        value = Decimal(number)
        for scale in scales:
            value *= _TENS.get(scale, 0) or _MYRIADS[scale]
        total += value
    return format(total.normalize(), "f")


def korean_number(word: str) -> str:
    """Return the digits of a Korean numeral (삼십, 두, 이천오백); "" where it is none."""
    if word in _NATIVE:
        return str(_NATIVE[word])
    ten = next((native for native in _NATIVE if len(native) == 2 and word.startswith(native)), "열")
    rest = word.removeprefix(ten) if word.startswith(ten) else ""
    if rest in _NATIVE and _NATIVE[ten] >= 10 and word.startswith(ten):
        return str(_NATIVE[ten] + _NATIVE[rest])
    total = part = digit = 0
    for character in word:
        if character in _DIGITS:
            digit = _DIGITS[character]
        elif character in _TENS:
            part, digit = part + max(1, digit) * _TENS[character], 0
        elif character in _MYRIADS:
            total, part, digit = total + max(1, part + digit) * _MYRIADS[character], 0, 0
        else:
            return ""
    return str(total + part + digit) if word else ""
