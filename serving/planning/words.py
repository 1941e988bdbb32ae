"""vLLM's flags as the user writes them after --, taken apart. Pure."""

from __future__ import annotations

from quantserve.core.errors import UsageError


def parse_words(words: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Read vLLM flags: `--a 1`, `--a=1`, `--a` (no value), `--a x y`.

    Raises:
        UsageError: a word stands where a flag was expected.
    """
    found: dict[str, tuple[str, ...]] = {}
    current: str | None = None
    for word in words:
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            field, dot, rest = name.partition(".")
            current = field.replace("_", "-") + dot + rest  # vLLM takes both; here one name is one flag
            found[current] = (value,) if equals else ()
        elif word[:1] == "-" and word[1:2].isalpha():
            raise UsageError(f"{word!r} is a short flag", mend="Write it in full: -- --name value")
        elif current is None:
            raise UsageError(f"{word!r} is no vLLM flag", mend="Write them as -- --name value")
        else:
            found[current] = (*found[current], word)
    return found


def parse_flags(words: tuple[str, ...]) -> dict[str, str | None]:
    """Read vLLM flags as `parse_words` does; several values are joined by a blank, none is None.

    Raises:
        UsageError: a word stands where a flag was expected.
    """
    return {name: " ".join(values) if values else None for name, values in parse_words(words).items()}
