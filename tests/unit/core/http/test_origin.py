"""Whose page a request is from, by its Host and Origin."""

from __future__ import annotations

import pytest

from quantserve.core.http.origin import foreign, foreign_headers, require_own
from quantserve.core.http.refusal import Refusal


@pytest.mark.parametrize(
    ("host", "origin", "why"),
    [
        ("127.0.0.1:8000", None, None),
        ("localhost", None, None),
        ("[::1]:8000", None, None),
        ("127.0.0.1:8000", "http://127.0.0.1:8000", None),
        ("127.0.0.1:8000", "http://localhost:3000", None),
        ("127.0.0.1:8000", "http://127.0.0.1:9", "foreign_origin"),
        ("127.0.0.1:8000", "null", "foreign_origin"),
        ("127.0.0.1:8000", "https://[evil", "foreign_origin"),
        ("evil.example", None, "foreign_host"),
        ("127.0.0.1.evil.example", None, "foreign_host"),
        ("[::1", None, "foreign_host"),
        ("", None, "foreign_host"),
        ("127.0.0.1@evil.example", None, "foreign_host"),
    ],
)
def test_another_sites_page_is_told_by_host_and_origin(
    host: str, origin: str | None, why: str | None
) -> None:
    assert foreign(host, origin, ("http://localhost:3000",)) == why


OURS = [(b"host", b"127.0.0.1:8000"), (b"origin", b"http://127.0.0.1:8000")]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ([], None),
        ([(b"accept", b"*/*")], None),
        ([(b"host", b"evil.example")], "foreign_host"),
        ([(b"origin", b"http://evil.example")], "foreign_origin"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_of_two_headers_each_must_be_ours(
    more: list[tuple[bytes, bytes]], why: str | None, first: bool
) -> None:
    headers = more + OURS if first else OURS + more
    assert foreign_headers(headers) == why
    if why is None:
        require_own(headers)
    else:
        with pytest.raises(Refusal) as caught:
            require_own(headers)
        assert (caught.value.status, caught.value.code, caught.value.close) == (403, why, True)
