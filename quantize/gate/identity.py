"""Do both checkpoints turn a conversation into the same text, and end it with the same tokens? From files.

Rounding weights touches none of this, so a difference means that saving lost or replaced something:
the model would be asked in a form it was not trained on, or would not know when to stop.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TOKENS = ("bos_token", "eos_token", "unk_token")


@dataclass(frozen=True)
class Identity:
    """What of a checkpoint shapes prompts and ends answers; unknown is None.

    added: content and whether it is special, by token id. ends: ids that end an answer.
    """

    chat_template: str | None
    special: dict[str, str | None]
    added: dict[int, tuple[str, bool]] | None
    ends: tuple[int, ...]


def read_identity(directory: Path) -> Identity:
    """Read a checkpoint's template and special tokens, wherever its writer put them."""
    settings = _json(directory / "tokenizer_config.json")
    beside = directory / "chat_template.jinja"
    template = beside.read_text(encoding="utf-8") if beside.is_file() else settings.get("chat_template")
    tokens = {**_json(directory / "special_tokens_map.json"), **settings}
    fast = _json(directory / "tokenizer.json").get("added_tokens")
    return Identity(
        chat_template=template if isinstance(template, str) else None,
        special={name: _content(tokens.get(name)) for name in _TOKENS},
        added=(
            {int(entry["id"]): (str(entry["content"]), bool(entry.get("special"))) for entry in fast}
            if isinstance(fast, list)
            else None
        ),
        ends=_ends(directory),
    )


def differences(base: Identity, candidate: Identity) -> tuple[str, ...]:
    """Return what is not the same, in words. A padding token is no difference: it is never served."""
    found = []
    if (base.chat_template or "").strip() != (candidate.chat_template or "").strip():
        found.append("the chat template")
    found += [
        f"{name} ({base.special[name]} became {candidate.special[name]})"
        for name in _TOKENS
        if base.special[name] != candidate.special[name]
    ]
    if base.added is not None and candidate.added is not None:
        # Quantizers add a padding token of their own: new ones are harmless, lost or changed ones are not.
        lost = [text for number, (text, _) in base.added.items() if number not in candidate.added]
        changed = [
            text
            for number, (text, special) in base.added.items()
            if number in candidate.added and candidate.added[number] != (text, special)
        ]
        found += [f"special token {text} lost" for text in lost]
        found += [f"special token {text} changed" for text in changed]
    if base.ends != candidate.ends:
        found.append(f"tokens that end an answer ({list(base.ends)} became {list(candidate.ends)})")
    return tuple(found)


def _ends(directory: Path) -> tuple[int, ...]:
    """Return the ids that end an answer: generation_config.json goes before config.json, as in the engine."""
    for name in ("generation_config.json", "config.json"):
        value = _json(directory / name).get("eos_token_id")
        if value is not None:
            return tuple(sorted(value if isinstance(value, list) else [value]))
    return ()


def _content(token: Any) -> str | None:
    value = token.get("content") if isinstance(token, dict) else token
    return None if value is None else str(value)


def _json(path: Path) -> dict[str, Any]:
    """Return a JSON object; a file that is not there holds nothing. The checkpoint was checked before."""
    if not path.is_file():
        return {}
    value = json.loads(path.read_text(encoding="utf-8"))
    return value if isinstance(value, dict) else {}
