"""What is amiss with calibration text but no reason to stop: named, so that the manifest can record it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SHORT = "short-text"
ONE_LANGUAGE = "one-language"
LANGUAGE_SHARE = "language-share"
SOURCE_SHARE = "source-share"
NO_TEMPLATE = "no-chat-template"
# A language or source may miss the share asked for by this much.
TOLERANCE = 0.15
_PRESENT = 0.02


@dataclass(frozen=True)
class Warned:
    """One warning: its name, and a sentence for people."""

    name: str
    text: str


def judge(
    facts: Mapping[str, Any],
    *,
    sequences: int,
    readable: tuple[str, ...],
    asked: Mapping[str, float],
    weights: Mapping[str, float],
) -> list[Warned]:
    """Judge packed text.

    facts: `Packed.facts`. sequences: how many were asked for. readable: the languages the tokenizer was
    made for. asked: language shares asked for. weights: each source's share asked for.
    """
    found = []
    if facts["sequences"] < sequences:
        found.append(Warned(SHORT, f"the text filled {facts['sequences']} of {sequences} sequences"))
    languages: Mapping[str, float] = facts["languages"]
    present = [name for name in readable if languages.get(name, 0.0) >= _PRESENT]
    # One language asked for by name is meant.
    if len(readable) > 1 and len(present) < 2 and len(asked) != 1:
        found.append(
            Warned(
                ONE_LANGUAGE,
                f"the model reads {' and '.join(readable)}, the text is in {_shares(languages)}; "
                f"what the model says in the others may suffer",
            )
        )
    elif any(abs(languages.get(name, 0.0) - share) > TOLERANCE for name, share in asked.items()):
        found.append(Warned(LANGUAGE_SHARE, f"asked for {_shares(asked)}, the text has {_shares(languages)}"))
    given = {name: facts["sources"].get(name, 0) / facts["tokens"] for name in weights}
    if any(abs(given[name] - share) > TOLERANCE for name, share in weights.items()):
        found.append(Warned(SOURCE_SHARE, f"asked for {_shares(weights)}, there was {_shares(given)}"))
    if not facts["templated"]:
        found.append(Warned(NO_TEMPLATE, "the model has no chat template, chats were read as plain text"))
    return found


def _shares(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{share:.0%} {name}" for name, share in shares.items())
