from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantserve.core.errors import InputError
from quantserve.core.files import write_json
from quantserve.core.json_input import MAX_DEPTH, BadJson, parse_json, read_json_object

DEEP = MAX_DEPTH + 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"[" * 1_000_000, "nested more than 100 levels"),
        (b'{"a":' * 1_000_000, "nested more than 100 levels"),
        (b"[" * DEEP + b"]" * DEEP, "nested more than 100 levels"),
        (b'{"a":' * DEEP + b"1" + b"}" * DEEP, "nested more than 100 levels"),
        (b"", "line 1, column 1"),
        (b"{", "line 1, column 2"),
        (b"\xff\xfe{}", "not UTF-8 at byte 0"),
        (b"\xef\xbb\xbf{}", "BOM"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b"9" * 5000, "4300 digits"),
        (b'"\\ud800"', "half a surrogate pair"),
        (b'{"\\udfff": 1}', "half a surrogate pair"),
    ],
)
def test_what_cannot_be_taken_has_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BadJson, match=reason):
        parse_json(data)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, None),
        (b'"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
        (b"[1, 2.5]", [1, 2.5]),
    ],
)
def test_what_is_within_the_bounds_is_taken(data: bytes, value: Any) -> None:
    assert value is None or parse_json(data) == value
    parse_json(data)


@given(st.one_of(st.binary(max_size=200), st.text(alphabet='{}[]",:\\ud8f0019eE+-.ntrualse ', max_size=60)))
def test_any_bytes_give_a_value_that_can_be_written_again_or_a_reason(data: bytes | str) -> None:
    try:
        value = parse_json(data)
    except BadJson:
        return
    json.dumps(value, indent=1, ensure_ascii=False).encode()


def test_what_was_read_can_be_written(tmp_path: Path) -> None:
    # The encoder that indents recurses much deeper than the parser.
    value = parse_json(b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH)
    write_json(tmp_path / "out.json", value)
    assert json.loads((tmp_path / "out.json").read_text()) == value


class Refused(InputError):
    """An error of the caller's own."""


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[]", r"f\.json is not a JSON object\. Mend it"),
        (b"{", r"f\.json is not valid JSON: .*\. Mend it"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 2\n", r"Git LFS pointer.*lfs pull"),
        (b" " * 101, r"f\.json has 101 B, more than the 100 B"),
    ],
)
def test_a_file_is_refused_by_its_name_with_the_callers_error(
    tmp_path: Path, data: bytes, message: str
) -> None:
    (tmp_path / "f.json").write_bytes(data)
    with pytest.raises(Refused, match=message):
        read_json_object(tmp_path / "f.json", error=Refused, mend="Mend it", max_bytes=100)


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be read: No such file"):
        read_json_object(tmp_path / "f.json", error=Refused)
    with pytest.raises(Refused, match="cannot be read: Is a directory"):
        read_json_object(tmp_path, error=Refused)
