"""Web pages to files: from hosts on a list, within limits of size and time, never from inside the network.

Redirects are followed by hand, and each place they lead to is checked like the first. The page is asked
for as it is (no compression, which could hide a thousandfold of its size).
"""

from __future__ import annotations

import codecs
import time
from dataclasses import dataclass
from email.message import Message
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpcore

from quantserve.core.files import write_bytes
from quantserve.rag.config import FetchConfig
from quantserve.rag.errors import PageGone, PageRefused, PageUnavailable
from quantserve.rag.loaders.encoding import declared_codec
from quantserve.rag.loaders.public_network import PublicNetwork

_SUFFIXES = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "text/plain": ".txt",
    "text/markdown": ".md",
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "application/pdf": ".pdf",
    "application/jsonl": ".jsonl",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
}
_TEXT_SUFFIXES = frozenset({".html", ".txt", ".md", ".csv", ".tsv", ".jsonl"})
_AGENT = b"quantserve-rag"
_REDIRECTS = (301, 302, 303, 307, 308)
_GONE = (404, 410)


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def is_address(text: str) -> bool:
    """Whether a text names a web page rather than a file."""
    return text.lower().startswith(("http://", "https://"))


def check_allowed(url: str, config: FetchConfig) -> None:
    """Refuse an address whose host is not on the list.

    Raises:
        PageRefused: it is not, or the address carries a password or is no http(s) one.
    """
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip(".").lower(), parts.port
    except ValueError as error:
        raise PageRefused(f"{url!r} is no web address", mend="Give an address like https://…") from error
    if parts.scheme not in ("http", "https") or not host or parts.username or parts.password:
        raise PageRefused(f"{url!r} is no plain web address", mend="Give an address like https://…")
    if port not in (None, 80, 443) and f"{host}:{port}" not in config.allow_hosts:
        raise PageRefused(
            f"port {port} of {host} is not on the list", mend=f"Allow it: --allow-host {host}:{port}"
        )
    if port in (None, 80, 443) and not any(fnmatchcase(host, allowed) for allowed in config.allow_hosts):
        raise PageRefused(
            f"{host} is not on the list of hosts that pages may come from",
            mend=f"Allow it: --allow-host {host}",
        )


def fetch(url: str, folder: Path, config: FetchConfig, network: PublicNetwork | None = None) -> Path:
    """Bring a page into `folder` as a file whose suffix tells its kind.

    Raises:
        PageRefused: its host is not on the list, not public, or the page too large or of another kind.
        PageGone: the server says that there is no such page (any more).
        PageUnavailable: it cannot be had now.
    """
    deadline = time.monotonic() + config.timeout_s
    place = url
    with httpcore.ConnectionPool(network_backend=network or PublicNetwork()) as pool:
        for _ in range(config.max_redirects + 1):
            check_allowed(place, config)
            answer = _get(pool, place, config, deadline)
            if answer.status in _REDIRECTS and "location" in answer.headers:
                place = urljoin(place, answer.headers["location"])
                continue
            return _store(url, answer, folder)
    raise PageUnavailable(f"{url}: more than {config.max_redirects} redirects", mend="Give the last address")


def _get(pool: httpcore.ConnectionPool, url: str, config: FetchConfig, deadline: float) -> _Answer:
    def left() -> float:
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise PageUnavailable(f"{url}: took longer than {config.timeout_s:g} s", mend="Try again later")
        return seconds

    headers = [
        (b"Host", urlsplit(url).netloc.encode("idna" if not urlsplit(url).netloc.isascii() else "ascii")),
        (b"User-Agent", _AGENT),
        (b"Accept-Encoding", b"identity"),
    ]
    seconds = left()
    timeouts = dict.fromkeys(("connect", "read", "write", "pool"), seconds)
    body = bytearray()
    try:
        with pool.stream("GET", url, headers=headers, extensions={"timeout": timeouts}) as response:
            found = {
                name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers
            }
            if response.status in _REDIRECTS:
                return _Answer(response.status, found, b"")
            if found.get("content-encoding", "identity") != "identity":
                raise PageRefused(f"{url}: is sent compressed though it was asked for plain")
            for part in response.iter_stream():
                body += part
                left()
                if len(body) > config.max_bytes:
                    raise PageRefused(
                        f"{url}: is larger than {config.max_bytes / 1e6:.0f} MB",
                        mend="Save it as a file and index that",
                    )
            return _Answer(response.status, found, bytes(body))
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
        what = str(error) or type(error).__name__
        raise PageUnavailable(f"{url}: cannot be reached ({what})", mend="Try again later") from error


def _store(url: str, answer: _Answer, folder: Path) -> Path:
    if answer.status in _GONE:
        raise PageGone(f"{url}: there is no such page ({answer.status})", mend="Check the address")
    if answer.status != 200:
        raise PageUnavailable(f"{url}: the server answered {answer.status}", mend="Try again later")
    kind = answer.headers.get("content-type", "text/html").partition(";")[0].strip().lower()
    suffix = _SUFFIXES.get(kind)
    if suffix is None:
        raise PageRefused(
            f"{url}: pages of kind {kind!r} are not read", mend=f"Kinds: {', '.join(_SUFFIXES)}"
        )
    path = folder / f"page{suffix}"
    write_bytes(path, _in_utf8(answer) if suffix in _TEXT_SUFFIXES else answer.body)
    return path


def _in_utf8(answer: _Answer) -> bytes:
    """Return a page in UTF-8 where the server names the encoding and the bytes agree; else as it came."""
    parameters = Message()
    parameters["content-type"] = answer.headers.get("content-type", "")
    codec = declared_codec(answer.body, parameters.get_content_charset("") or "")
    return codecs.BOM_UTF8 + answer.body.decode(codec).encode() if codec else answer.body
