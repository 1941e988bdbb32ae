"""From a body's bytes to JSON that cannot hurt: strict syntax, finite numbers, bounded depth, safe addresses.

The parser is pydantic-core's, which vLLM's environment has anyway: it refuses NaN, Infinity, lone
surrogates, wrong UTF-8 and more than 200 levels, in about a microsecond for a usual chat. Where a name
stands twice the last one counts, as it does in the parser behind us, so both see the same request.
"""

from __future__ import annotations

from collections.abc import Collection
from math import isfinite
from typing import Any
from urllib.parse import urlsplit

from pydantic_core import from_json

from quantserve.serving.guard.refusal import Refusal, bad_value, too_large
from quantserve.serving.guard.settings import Limits

_INT64 = 2**63
_ADDRESS_FIELDS = frozenset(
    {"image_url", "video_url", "audio_url", "file_url", "image", "video", "audio", "file", "source"}
)
_TENSOR_FIELDS = frozenset({"image_embeds", "video_embeds", "audio_embeds", "image_pil"})


def parse(raw: bytes) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        Refusal: 400; it is not JSON, or no object.
    """
    try:
        value = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise Refusal(400, "invalid_json", f"the body is not JSON: {error}") from error
    if type(value) is not dict:
        raise Refusal(400, "invalid_json", "the body must be a JSON object")
    return value


def check_tree(value: Any, limits: Limits, hosts: Collection[str]) -> int:
    """Check every number, address and level of a body or a part of it; return the characters of its text.

    Addresses are those that the engine would fetch: `data:` is fine, http and https only to `hosts`.

    Raises:
        Refusal: 400 with the name of the field.
    """
    characters, values = 0, 0
    stack: list[tuple[Any, int]] = [(value, 1)]
    while stack:
        node, depth = stack.pop()
        if depth > limits.max_depth:
            raise too_large(f"the body is nested more than {limits.max_depth} levels deep")
        if type(node) is list:
            kinds = set(map(type, node))
            if kinds == {int}:
                _check_number(max(node), None)
                _check_number(min(node), None)
                continue
            entries = ((None, item) for item in node)
        else:
            entries = node.items()
            if not _ADDRESS_FIELDS.isdisjoint(node) or not _TENSOR_FIELDS.isdisjoint(node):
                _check_media(node, hosts)
        values += len(node)
        if values > limits.max_values:
            raise too_large(f"the body holds more than {limits.max_values} values")
        for name, item in entries:
            kind = type(item)
            if kind is str:
                # Media in the body itself is bounded by the body's size, not by the prompt's.
                characters += 0 if item.startswith("data:") else len(item)
            elif kind is dict or kind is list:
                stack.append((item, depth + 1))
            elif kind is int or kind is float:
                _check_number(item, name)
    return characters


def _check_number(number: float, name: str | None) -> None:
    if not isfinite(number) if type(number) is float else not -_INT64 <= number < _INT64:
        raise bad_value("a number is too large", name)


def _check_media(part: dict[str, Any], hosts: Collection[str]) -> None:
    for name in part:
        if name in _TENSOR_FIELDS:
            raise Refusal(400, "refused_field", f"{name} is not accepted", param=name)
        if name in _ADDRESS_FIELDS:
            address = part[name]
            if type(address) is dict:  # OpenAI's image_url and Anthropic's source
                address = address.get("url")
            elif name == "source":
                continue
            if type(address) is str:
                check_address(address, hosts, name)


def check_address(address: str, hosts: Collection[str], name: str) -> None:
    """Refuse an address that would make the server fetch something for a stranger (SSRF).

    Raises:
        Refusal: 400; it is no data: address and its host is not on the list.
    """
    if address[:5].lower() == "data:":
        return
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise bad_value(f"{name} is no address", name) from error
    # A backslash or a blank is read differently by different parsers, and so is a user name.
    odd = any(c in address for c in "\\ \t\r\n") or "@" in parts.netloc
    if parts.scheme in ("http", "https") and host in hosts and port in (None, 80, 443) and not odd:
        return
    known = f"data: or a host of {', '.join(sorted(hosts))}" if hosts else "a data: address"
    raise Refusal(400, "refused_address", f"{name} must be {known}; nothing else is fetched", param=name)
