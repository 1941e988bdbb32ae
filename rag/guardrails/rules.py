"""Rules: what may not stand in a text, what is masked in it, and how long it may be."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

from quantserve.rag.guardrails.base import Side, Verdict

BUILT_IN: Mapping[str, str] = {
    # 주민등록번호·외국인등록번호: date of birth, then a digit for century and sex
    "korean_id": r"(?<!\d)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\s?-\s?[1-8]\d{6}(?!\d)",
    "card_number": r"(?<!\d)(?:\d{4}[ -]){3}\d{4}(?!\d)",
    "korean_phone": r"(?<!\d)01[016789][ -]?\d{3,4}[ -]?\d{4}(?!\d)",
    "email": r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+",
    "api_key": r"\b(?:sk|pk|ghp|gho|xox[abp]|AKIA)[-_]?[A-Za-z0-9_-]{16,}",
    "override": (
        r"(?i)\b(?:ignore|disregard|forget)\b.{0,40}\b(?:previous|prior|above|earlier|all)\b.{0,40}"
        r"\b(?:instructions?|rules?|prompts?)\b"
        r"|(?:이전|앞|위)(?:의|에)?\s?.{0,10}(?:지시|규칙|명령|프롬프트).{0,10}(?:무시|잊)"
        r"|(?i:\b(?:reveal|print|show|repeat)\b.{0,30}\bsystem prompt\b)"
        r"|시스템 프롬프트.{0,15}(?:보여|알려|출력|공개)"
    ),
}
"""Patterns with a name; a rules step may use them by it."""


@dataclass(frozen=True)
class Rules:
    """Patterns that block and patterns that are masked, by name."""

    name: str = "rules"
    deny: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    mask: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    max_characters: int | None = None

    def judge(self, text: str, side: Side, question: str) -> Verdict:
        """Judge by the patterns; full-width letters and composed forms count as the plain ones."""
        if self.max_characters is not None and len(text) > self.max_characters:
            return Verdict(text, f"longer than {self.max_characters} characters")
        plain = unicodedata.normalize("NFKC", text)
        for name, pattern in self.deny.items():
            if pattern.search(plain):
                return Verdict(text, f"matches '{name}'")
        notes = []
        for name, pattern in self.mask.items():
            text, count = pattern.subn(f"[{name}]", text)
            if count:
                notes.append(f"{name} masked")
        return Verdict(text, notes=tuple(notes))
