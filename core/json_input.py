"""JSON that others wrote, read with bounds: whatever is wrong with it is one line, never a traceback.

Python's parser recurses, so 1,000 brackets raise RecursionError; what it takes, an encoder or a deep copy
behind it may not. So nesting is bounded far below that, and so is the size. Text that UTF-8 cannot express (a
lone surrogate, legal in JSON as an escape) is refused, since it could be neither printed nor written again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from quantserve.core.errors import InputError
from quantserve.core.sizes import decimal_size

MAX_DEPTH = 100
"""Levels of objects and arrays. tokenizers' and pydantic's parsers end at 128 and 200; real files have 12."""
MAX_BYTES = 256_000_000
"""The largest tokenizer.json of a known model has 35 MB, the largest shard index 20 MB."""
_LFS_PREFIX = b"version https://git-lfs"
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")

Pairs = Callable[[list[tuple[str, Any]]], Any]


class BadJson(ValueError):
    """The text is no JSON that this program takes; the message is the reason, without the file's name."""


def parse_json(data: bytes | str, *, max_depth: int = MAX_DEPTH, pairs: Pairs | None = None) -> Any:
    """Parse JSON in UTF-8; `pairs` builds objects from their members, as `object_pairs_hook` does.

    Raises:
        BadJson: it is malformed, nested too deeply, or holds what cannot be written again.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=pairs)
    except RecursionError as error:
        raise BadJson(f"it is nested more than {max_depth} levels deep") from error
    except UnicodeDecodeError as error:
        raise BadJson(f"it is not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise BadJson(f"{error.msg} at line {error.lineno}, column {error.colno}") from error
    except ValueError as error:
        # Such as a number of more digits than Python converts.
        raise BadJson(str(error).partition(";")[0]) from error
    if _deeper_than(value, max_depth):
        raise BadJson(f"it is nested more than {max_depth} levels deep")
    if _SURROGATE_ESCAPE.search(text):
        _refuse_lone_surrogates(value)
    return value


def _deeper_than(value: Any, limit: int) -> bool:
    """Whether objects and arrays are nested more than `limit` levels, counted without recursion."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(limit):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
    return bool(level)


def _refuse_lone_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise BadJson("it holds half a surrogate pair, which is no character") from error


def read_json_value(
    path: Path,
    *,
    error: type[InputError] = InputError,
    mend: str = "Fetch it again",
    max_bytes: int = MAX_BYTES,
) -> Any:
    """Read a JSON file of any kind.

    Raises:
        InputError: as `error`: the file is missing, unreadable, too large, a Git LFS pointer or no JSON.
    """
    try:
        size_bytes = path.stat().st_size
        if size_bytes > max_bytes:
            raise error(
                f"{path} has {decimal_size(size_bytes)}, more than the {decimal_size(max_bytes)} "
                "that a JSON file may have here",
                mend=mend,
            )
        data = path.read_bytes()
    except OSError as failure:
        raise error(f"{path} cannot be read: {failure.strerror or failure}", mend=mend) from failure
    if data.startswith(_LFS_PREFIX):
        raise error(
            f"{path} is a Git LFS pointer, not the file itself", mend=f"Run: git -C {path.parent} lfs pull"
        )
    try:
        return parse_json(data)
    except BadJson as failure:
        raise error(f"{path} is not valid JSON: {failure}", mend=mend) from failure


def read_json_object(
    path: Path,
    *,
    error: type[InputError] = InputError,
    mend: str = "Fetch it again",
    max_bytes: int = MAX_BYTES,
) -> dict[str, Any]:
    """Read a JSON file whose top level is an object.

    Raises:
        InputError: as `error`: see `read_json_value`; or it is something other than an object.
    """
    value = read_json_value(path, error=error, mend=mend, max_bytes=max_bytes)
    if not isinstance(value, dict):
        raise error(f"{path} is not a JSON object", mend=mend)
    return value
