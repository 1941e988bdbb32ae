"""Names that are no plain text: every path has one printable key, and the key gives the path back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantserve.core.terminal import one_line
from quantserve.rag.ingest.names import display_name, key_of, path_of

PARTS = st.binary(min_size=1, max_size=40).filter(
    lambda part: not set(part) & {0, ord("/")} and part not in (b".", b"..")
)
PATHS = st.lists(PARTS, min_size=1, max_size=4).map(lambda parts: Path(os.fsdecode(b"/" + b"/".join(parts))))


@given(path=PATHS)
def test_a_key_is_plain_text_and_gives_the_path_back(path: Path) -> None:
    key = key_of(path)
    assert one_line(key) == key
    assert key.encode().decode() == key
    assert os.fsencode(path_of(key)) == os.fsencode(path)


@given(one=PATHS, other=PATHS)
def test_no_two_paths_share_a_key(one: Path, other: Path) -> None:
    assert (key_of(one) == key_of(other)) == (one == other)


@pytest.mark.parametrize(
    ("name", "key", "shown"),
    [
        (b"/a/plain.txt", "/a/plain.txt", "/a/plain.txt"),
        ("/a/휴가 규정.md".encode(), "/a/휴가 규정.md", "/a/휴가 규정.md"),
        (b"/a/caf\xe9.txt", "/a/caf\\udce9.txt", "/a/caf\\udce9.txt"),
        (b"/a/two\nlines", "/a/two\\nlines", "/a/two\\nlines"),
        (b"/a/\x1b[31mred", "/a/\\x1b[31mred", "/a/\\x1b[31mred"),
        (b"/a/back\\slash", "/a/back\\\\slash", "/a/back\\slash"),
        (b"/a/\\udce9", "/a/\\\\udce9", "/a/\\udce9"),
        ("/a/\u202etxt.exe".encode(), "/a/\\u202etxt.exe", "/a/\\u202etxt.exe"),
    ],
)
def test_what_a_name_is_kept_and_shown_as(name: bytes, key: str, shown: str) -> None:
    path = Path(os.fsdecode(name))
    assert (key_of(path), display_name(path)) == (key, shown)
