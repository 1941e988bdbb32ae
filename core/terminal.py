"""Outside text on a terminal: it may neither command the terminal nor pretend to be a line of ours.

A file's name, a passage and a model's answer are somebody else's text. An escape sequence in it would
colour, clear or retitle the terminal, a bidirectional override would show it in another order, a carriage
return would write over what stands there. Each such character is shown as Python writes it (\\x1b, \\u202e)
instead, so that nothing is lost and nothing happens.
"""

from __future__ import annotations

import re

_COMMANDS = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and newline, DEL, C1
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional marks, embeddings, overrides, isolates
    r"\u2028\u2029"  # line and paragraph separator
    r"\ud800-\udfff"  # lone surrogates: bytes of a name that is no UTF-8
)
_IN_TEXT = re.compile(f"[{_COMMANDS}]")
_IN_LINE = re.compile(f"[{_COMMANDS}\t\n]")
_IN_JSON = re.compile(r"[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Return a text of any number of lines without what would command a terminal."""
    return _IN_TEXT.sub(_written, text)


def one_line(text: str) -> str:
    """Return a name or a message as one line: tabs and line breaks are shown as written, too."""
    return _IN_LINE.sub(_written, text)


def json_escaped(document: str) -> str:
    """Return the same JSON document with what would command a terminal written as \\uXXXX.

    In JSON such characters stand in strings alone, where the escape means the character itself.
    """
    return _IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", document)


def _written(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
