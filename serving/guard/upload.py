"""An audio upload's fields, read from its multipart body by python-multipart, in linear time.

The parser walks a part's data by searching for the next boundary, and only heads byte by byte; how many parts
there may be and how long their heads, is bounded, so a body made of nothing but heads ends early. A request
that names its model twice is refused: which of the two counts differs from parser to parser.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from quantserve.serving.guard.refusal import Refusal, bad_value, too_large

_KIND = b"multipart/form-data"
_MOST_PARTS = 64
_MOST_HEADERS = 4
_MOST_HEADER_BYTES = 512
_MOST_FIELD_BYTES = 1024
"""Of one field's value as it is read here; the engine reads the whole."""


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
    reader = _Fields()
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


class _Fields:
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
