"""Which languages a served model can be trusted to write."""

from __future__ import annotations

import re

from quantserve.rag.text import hangul_share, language_of

ALL: frozenset[str] = frozenset({"en", "ko"})
_ENGLISH_ONLY = re.compile(
    r"smollm-|smollm2|tinyllama|(^|/)gpt2|pythia|(^|/)opt-\d|phi-?[12]\b|phi-1_5|gpt-j|gpt-neo|falcon-7b|stablelm-2-1_6b",
    re.IGNORECASE,
)
"""Models known to write English only; whatever is not named here is taken to write every language."""
_SIZE = re.compile(r"(?:^|[-_/])(\d+(?:\.\d+)?)([mMbB])(?![A-Za-z0-9])")
_LEAST_PARAMETERS = 1e9
_BEGINNING = 3
_ENOUGH = 40
_SHORT = 12
"""Letters under which an answer (a number, a name) has no language to speak of."""


def answer_languages(model: str, setting: str) -> frozenset[str]:
    """Return the languages `model` writes: `setting` ("en", "en,ko", "all"), or by the table for "auto"."""
    if setting == "auto":
        return frozenset({"en"}) if _ENGLISH_ONLY.search(model) else ALL
    if setting == "all":
        return ALL
    return frozenset(part.strip() for part in setting.split(",") if part.strip())


def is_weak(model: str) -> bool:
    """Whether a model cannot follow a prompt with rules and numbers: an early one, or one that its name
    says is small (Qwen2.5-0.5B, gemma-3-270m)."""
    return (
        bool(_ENGLISH_ONLY.search(model)) or (parameters_of(model) or _LEAST_PARAMETERS) < _LEAST_PARAMETERS
    )


def parameters_of(model: str) -> float | None:
    """Return how many parameters a model's name says it has; None where it says nothing."""
    match = _SIZE.search(model)
    return float(match[1]) * (1e9 if match[2] in "bB" else 1e6) if match else None


def is_in_language(answer: str, language: str) -> bool:
    """Whether an answer is in the question's language; one too short to tell passes."""
    letters = re.findall(r"[A-Za-z가-힣]", answer)
    if len(letters) < _SHORT:
        return True
    if language == "ko":
        return hangul_share(answer) >= 0.2
    return language_of(answer) == "en"


def begins_in_language(beginning: str, language: str) -> bool | None:
    """Whether an answer that has only begun is in the question's language; None while that cannot be told.

    What speaks for the language is taken at once; what speaks against it may be a foreign name, so that is
    believed only after some letters more.
    """
    letters = re.findall(r"[A-Za-z가-힣]", beginning)
    if language == "ko":
        speaks_for = hangul_share(beginning) >= 0.2
    else:
        speaks_for = len(letters) >= _BEGINNING and hangul_share(beginning) == 0.0
    if speaks_for:
        return True
    return is_in_language(beginning, language) if len(letters) >= _ENOUGH else None
