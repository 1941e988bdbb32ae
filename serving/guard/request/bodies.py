"""From a body's bytes to values that cannot hurt: strict JSON, bounded depth, safe addresses, bounded forms.

The JSON parser is pydantic-core's, which vLLM's environment has anyway: it refuses NaN, Infinity, lone
surrogates, wrong UTF-8 and more than 200 levels, in about a microsecond for a usual chat. Where a name
stands twice the last one counts, as it does in the parser behind us, so both see the same request.

An audio upload's fields are read by python-multipart, in linear time: it walks a part's data by searching for
the next boundary, and only heads byte by byte; how many parts there may be and how long their heads, is
bounded, so a body made of nothing but heads ends early. A form that names its model twice is refused: which
of the two counts differs from parser to parser.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import isfinite
from typing import Any
from urllib.parse import urlsplit

from pydantic_core import from_json
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from quantserve.core.http.refusal import Refusal, bad_value, too_large
from quantserve.serving.guard.request.limits import RequestLimits

_INT64 = 2**63
_ADDRESS_FIELDS = frozenset(
    {"image_url", "video_url", "audio_url", "file_url", "image", "video", "audio", "file", "source"}
)
_TENSOR_FIELDS = frozenset({"image_embeds", "video_embeds", "audio_embeds", "image_pil"})
_KIND = b"multipart/form-data"
_MOST_PARTS = 64
_MOST_HEADERS = 4
_MOST_HEADER_BYTES = 512
_MOST_FIELD_BYTES = 1024
"""Of one field's value as it is read here; the engine reads the whole."""


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


def check_tree(value: Any, limits: RequestLimits, hosts: Collection[str]) -> int:
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


def boundary_of(content_type: bytes) -> bytes:
    """Return the boundary that a form's content type names.

    Raises:
        Refusal: 415, it is no form; 400, it names none.
    """
    kind, options = parse_options_header(content_type)
    if kind != _KIND:
        raise Refusal(415, "wrong_content_type", "send the file as multipart/form-data", close=True)
    boundary: bytes | None = options.get(b"boundary")
    if not boundary:
        raise bad_value("the content type multipart/form-data names no boundary")
    return boundary


def read_fields(body: bytes, boundary: bytes) -> Mapping[str, str]:
    """Return the beginnings of the form's fields by name; files are left out.

    Raises:
        Refusal: 400, the body is no form, has too many parts, or names its model twice.
    """
    reader = _FormFields()
    try:
        MultipartParser(
            boundary,
            reader.callbacks(),
            max_header_count=_MOST_HEADERS,
            max_header_size=_MOST_HEADER_BYTES,
        ).write(body)
    except FormParserError as error:
        raise bad_value(f"the form cannot be read: {error}") from error
    return reader.fields


class _FormFields:
    """Gathers what the parser says."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self._parts = 0
        self._header = b""
        self._value = b""
        self._name: str | None = None
        self._data = b""

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_header,
            "on_header_value": self._on_value,
            "on_header_end": self._end_header,
            "on_part_data": self._on_data,
            "on_part_end": self._end,
        }

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise too_large(f"the form has more than {_MOST_PARTS} parts")
        self._name, self._data, self._header, self._value = None, b"", b"", b""

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            name = options.get(b"name")
            if name is not None and b"filename" not in options:
                self._name = name.decode("utf-8", errors="replace")
        self._header, self._value = b"", b""

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._name is not None and len(self._data) < _MOST_FIELD_BYTES:
            self._data += data[start : min(end, start + _MOST_FIELD_BYTES)]

    def _end(self) -> None:
        if self._name is None:
            return
        if self._name == "model" and "model" in self.fields:
            raise bad_value("the form names its model twice", "model")
        self.fields[self._name] = self._data.decode("utf-8", errors="replace")
