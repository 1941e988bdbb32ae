"""Pack documents into token sequences of one length, and name what is amiss with the result.

The model's own tokenizer and chat template are used. Warnings have names, so that the manifest can record
them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quantserve.core.errors import InputError
from quantserve.quantize.calibration.documents import Document, Group, plain_text
from quantserve.quantize.calibration.languages import language_shares

SHORT = "short-text"
ONE_LANGUAGE = "one-language"
LANGUAGE_SHARE = "language-share"
SOURCE_SHARE = "source-share"
NO_TEMPLATE = "no-chat-template"
# A language or source may miss the share asked for by this much.
TOLERANCE = 0.15
_PRESENT = 0.02


@dataclass(frozen=True)
class PackedText:
    """Token sequences of one length, and what is in them.

    languages: each language's share of the tokens.
    sources: the tokens that each source gave.
    templated: False when there were chats but the model has no template to render them with.
    """

    sequences: list[list[int]]
    languages: dict[str, float]
    sources: dict[str, int]
    templated: bool = True

    @property
    def facts(self) -> dict[str, Any]:
        """All but the tokens themselves, as plain JSON values."""
        return {
            "tokens": sum(map(len, self.sequences)),
            "sequences": len(self.sequences),
            "languages": self.languages,
            "sources": self.sources,
            "templated": self.templated,
        }


@dataclass(frozen=True)
class _Window:
    """A sequence that may be taken; `parts` counts its tokens by document."""

    ids: list[int]
    parts: Counter[int]


def pack(
    tokenizer: Any, groups: list[Group], *, sequences: int, sequence_tokens: int, seed: int
) -> PackedText:
    """Return up to `sequences` sequences of `sequence_tokens` token ids, shared out by the groups' weights.

    The sequences of a group are drawn by `seed`; a group with too little text leaves its part to the
    others. The result is shuffled by `seed`.

    Raises:
        InputError: the text fills fewer than half the sequences asked for, or the chat template fails.
    """
    documents = [document for group in groups for document in group["documents"]]
    templated = getattr(tokenizer, "chat_template", None) is not None
    offered: list[list[_Window]] = []
    tokens = first = 0
    for group in groups:
        windows, length = _windows(tokenizer, group["documents"], sequence_tokens, first, templated)
        random.Random(seed).shuffle(windows)
        offered.append(windows)
        tokens += length
        first += len(group["documents"])
    whole = sum(map(len, offered))
    if whole * 2 < sequences or whole == 0:
        raise InputError(
            f"The calibration text has {tokens:,} tokens, enough for {whole} of the {sequences} "
            f"sequences of {sequence_tokens} tokens asked for",
            mend="Give more text (--calibration), or ask for fewer (--sequences) or shorter ones",
        )
    counts = quotas([group["weight"] for group in groups], [len(windows) for windows in offered], sequences)
    taken = [
        (group["source"], window)
        for group, windows, count in zip(groups, offered, counts, strict=True)
        for window in windows[:count]
    ]
    random.Random(seed).shuffle(taken)
    sources: Counter[str] = Counter()
    for source, window in taken:
        sources[source] += len(window.ids)
    return PackedText(
        sequences=[window.ids for _, window in taken],
        languages=_languages(documents, sum((window.parts for _, window in taken), Counter())),
        sources=dict(sources),
        templated=templated or all(isinstance(document, str) for document in documents),
    )


def quotas(weights: list[float], available: list[int], total: int) -> list[int]:
    """Share `total` out by weight with no more than what is available, by largest remainder.

    What one cannot give is shared out among the others, until all is given or nothing is left.
    """
    given = [0] * len(weights)
    while (rest := total - sum(given)) > 0:
        able = [i for i, most in enumerate(available) if given[i] < most and weights[i] > 0]
        if not able:
            break
        unit = rest / sum(weights[i] for i in able)
        exact = {i: weights[i] * unit for i in able}
        floors = {i: int(share) for i, share in exact.items()}
        extra = rest - sum(floors.values())
        for i in sorted(able, key=lambda i: floors[i] - exact[i])[:extra]:
            floors[i] += 1
        for i in able:
            given[i] = min(given[i] + floors[i], available[i])
    return given


def _windows(
    tokenizer: Any, documents: list[Document], sequence_tokens: int, first: int, templated: bool
) -> tuple[list[_Window], int]:
    """Return the whole sequences in a group's documents, numbered from `first`, and all their tokens."""
    stream: list[int] = []
    owners: list[int] = []
    for number, document in enumerate(documents, start=first):
        ids = tokenizer(_text(tokenizer, document, templated), add_special_tokens=False)["input_ids"]
        if tokenizer.eos_token_id is not None:
            ids = [*ids, tokenizer.eos_token_id]
        stream += ids
        owners += [number] * len(ids)
    starts = range(0, len(stream) - sequence_tokens + 1, sequence_tokens)
    windows = [
        _Window(stream[i : i + sequence_tokens], Counter(owners[i : i + sequence_tokens])) for i in starts
    ]
    return windows, len(stream)


def _text(tokenizer: Any, document: Document, templated: bool) -> str:
    """Return what the tokenizer reads: the text itself, or a chat as the model was taught to see it."""
    if isinstance(document, str) or not templated:
        return plain_text(document)
    # Raised by templates that refuse a conversation, such as one with a system turn.
    from jinja2 import TemplateError

    try:
        return str(tokenizer.apply_chat_template(document, tokenize=False))
    except TemplateError:
        return _without_system(tokenizer, document)


def _without_system(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    """Render a chat with what the system said put before the first user turn."""
    from jinja2 import TemplateError

    system = [m["content"] for m in messages if m["role"] == "system"]
    turns = [dict(m) for m in messages if m["role"] != "system"]
    if system and turns:
        turns[0]["content"] = "\n\n".join([*system, turns[0]["content"]])
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False))
    except TemplateError as error:
        raise InputError(
            f"The model's chat template refuses a calibration chat: {error}",
            mend='Let its turns be "user" and "assistant" by turns, beginning with "user"',
        ) from error


def _languages(documents: list[Document], tokens: Counter[int]) -> dict[str, float]:
    """Return each language's share of the tokens taken, a document's by its letters."""
    weights: dict[str, float] = {}
    for number, count in tokens.items():
        for language, share in language_shares(plain_text(documents[number])).items():
            weights[language] = weights.get(language, 0.0) + share * count
    total = sum(weights.values())
    return {name: round(weight / total, 4) for name, weight in sorted(weights.items())}


@dataclass(frozen=True)
class TextWarning:
    """One warning: its name, and a sentence for people."""

    name: str
    text: str


def judge_text(
    facts: Mapping[str, Any],
    *,
    sequences: int,
    readable: tuple[str, ...],
    asked: Mapping[str, float],
    weights: Mapping[str, float],
) -> list[TextWarning]:
    """Judge packed text.

    facts: `PackedText.facts`. sequences: how many were asked for. readable: the languages the tokenizer was
    made for. asked: language shares asked for. weights: each source's share asked for.
    """
    found = []
    if facts["sequences"] < sequences:
        found.append(TextWarning(SHORT, f"the text filled {facts['sequences']} of {sequences} sequences"))
    languages: Mapping[str, float] = facts["languages"]
    present = [name for name in readable if languages.get(name, 0.0) >= _PRESENT]
    # One language asked for by name is meant.
    if len(readable) > 1 and len(present) < 2 and len(asked) != 1:
        found.append(
            TextWarning(
                ONE_LANGUAGE,
                f"the model reads {' and '.join(readable)}, the text is in {_in_words(languages)}; "
                f"what the model says in the others may suffer",
            )
        )
    elif any(abs(languages.get(name, 0.0) - share) > TOLERANCE for name, share in asked.items()):
        found.append(
            TextWarning(LANGUAGE_SHARE, f"asked for {_in_words(asked)}, the text has {_in_words(languages)}")
        )
    given = {name: facts["sources"].get(name, 0) / facts["tokens"] for name in weights}
    if any(abs(given[name] - share) > TOLERANCE for name, share in weights.items()):
        found.append(
            TextWarning(SOURCE_SHARE, f"asked for {_in_words(weights)}, there was {_in_words(given)}")
        )
    if not facts["templated"]:
        found.append(
            TextWarning(NO_TEMPLATE, "the model has no chat template, chats were read as plain text")
        )
    return found


def _in_words(language_shares: Mapping[str, float]) -> str:
    return ", ".join(f"{share:.0%} {name}" for name, share in language_shares.items())
