"""Every option of the server and its default."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from quantserve.core.home import generated

if TYPE_CHECKING:
    from quantserve.core.http.keys import KeyRules

MIB = 1 << 20
_LOG = generated("run/logs/rag.jsonl")
_DOCUMENTS = generated("run/documents")


@dataclass(frozen=True)
class Bounds:
    """How much one request, and all of them together, may take."""

    max_body_bytes: int = 1 * MIB
    """Any request but an upload."""
    max_upload_bytes: int = 256 * MIB
    """One file."""
    max_files: int = 32
    """Files in one upload."""
    max_messages: int = 64
    max_question_chars: int = 4000
    max_message_chars: int = 32_000
    max_top_k: int = 20
    max_answer_tokens: int = 1024
    max_requests: int = 256
    """Questions and searches in flight; one more gets 429 and Retry-After."""
    max_threads: int = 64
    """Questions answered at the same time; the others in flight wait for their turn."""
    max_jobs: int = 32
    """Indexing jobs that wait; they run one after the other."""
    max_requests_per_key: int = 64
    """Of `max_requests`, those of one key; of `max_threads` it has half at most."""
    max_jobs_per_key: int = 8
    max_uploads: int = 16
    """Uploads on their way; one more gets 429."""
    max_uploads_per_key: int = 4
    max_unread_bodies: int = 256
    """Requests whose body is on its way; one more, and the oldest of whoever has most of them gets 408."""
    max_connections: int = 1024
    """Open connections; one more ends the oldest that has no request. Every one of them may be idle."""
    max_connections_per_address: int = 256
    """Of one other machine; a proxy on this machine is everybody, so addresses of this one have no share."""
    max_header_bytes: int = 64 << 10
    header_timeout_s: float = 10.0
    """From the connection, or the end of the request before, to the last header."""
    body_timeout_s: float = 20.0
    """For a whole body, and for each next piece of an upload."""
    upload_least_bytes_s: int = 16 << 10
    """Mean speed an upload must keep after `body_timeout_s`, so that a trickle does not hold its place."""
    send_timeout_s: float = 60.0
    """For each piece of an answer that the client does not take."""


@dataclass(frozen=True)
class LogConfig:
    """Where each request is written down, one JSON object a line."""

    file: Path | None = _LOG
    max_bytes: int = 32 * MIB
    files: int = 5
    """Old files that are kept."""


@dataclass(frozen=True)
class ServerConfig:
    """All of it."""

    host: str = "127.0.0.1"
    port: int = 8001
    keys_file: Path | None = None
    upload_dir: Path = _DOCUMENTS
    """Where uploaded documents are kept; deleting one in the page deletes it here."""
    model_name: str = "quantserve-rag"
    """The name in /v1/models."""
    bounds: Bounds = field(default_factory=Bounds)
    log: LogConfig = field(default_factory=LogConfig)
    otlp_endpoint: str = ""
    """Base URL of an OpenTelemetry collector (HTTP); empty turns spans off."""
    wandb_project: str = ""
    lock_wait_s: float = 600.0
    """How long an indexing job waits for another writer."""
    shutdown_s: float = 10.0
    """Time that running answers get when the server is told to end."""


DEFAULT_KEYS_FILE = generated("run/rag-keys.json")
"""Used when it exists and no other is named."""


@functools.cache
def key_rules() -> KeyRules:
    """Return what a key of this server looks like and may be limited by."""
    from quantserve.core.http.keys import KeyRules  # brings pydantic, which most commands do without

    return KeyRules("rag", "quantserve rag keys", frozenset({"requests_per_minute", "expires"}))
