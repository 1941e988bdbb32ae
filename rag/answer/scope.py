"""What an answer depends on beside its question, and the cache that holds it."""

from __future__ import annotations

import functools
import hashlib
import weakref
from dataclasses import asdict, fields
from pathlib import Path

from quantserve.rag.answer.result import CACHED
from quantserve.rag.answer.wording import PROMPT_VERSION
from quantserve.rag.cache import AnswerCache, Scope
from quantserve.rag.config import AnswerConfig, CacheConfig
from quantserve.rag.llm import ServedModel
from quantserve.rag.retrieve import Passage, Searcher
from quantserve.rag.store.chunks import Chunk
from quantserve.rag.trust.calibration import Entry
from quantserve.rag.trust.index import SearchedIndex

CACHE_FILE = "answers.db"
_CACHES_OPEN = 16
WITHOUT_EFFECT = (
    "api_key", "connect_timeout_s", "read_timeout_s", "total_timeout_s", "describe_ttl_s", "retry", "cache",
    "calibration", "guard_file",
)  # fmt: skip
"""Settings that shape no answer, or whose content is in the scope itself; every other one, today's or a later
one, makes another scope."""
_FORM = (*CACHED, *(field.name for kind in (Passage, Chunk) for field in fields(kind)))
"""What is cached of an answer: another version of this program may cache something else."""
_identities: weakref.WeakKeyDictionary[SearchedIndex, str] = weakref.WeakKeyDictionary()


def open_cache(searcher: Searcher, config: AnswerConfig) -> AnswerCache | None:
    """Return the configured cache, the same one for every answerer of a process; None where it is off."""
    if not config.cache.enabled:
        return None
    return _shared_cache(
        (config.cache.path or searcher.config.index_dir / CACHE_FILE).absolute(), config.cache
    )


@functools.lru_cache(_CACHES_OPEN)
def _shared_cache(path: Path, config: CacheConfig) -> AnswerCache:
    """Open a file once in a process, so that its counters go on from one answerer to the next."""
    return AnswerCache(path, config)


def index_identity(generation: SearchedIndex) -> str:
    """Return a digest of all that a generation was made from and with."""
    found = _identities.get(generation)
    if found is None:
        manifest = generation.manifest.model_dump_json()
        found = _identities[generation] = hashlib.sha256(manifest.encode()).hexdigest()[:32]
    return found


def scope_of(
    searcher: Searcher,
    config: AnswerConfig,
    model: ServedModel | None,
    limits: Entry | None,
    guard_fingerprint: str,
    system: str,
    language: str,
) -> Scope:
    """Return the scope of an answer; `model` is None where none is asked."""
    return Scope(
        index=index_identity(searcher.generation),
        model=model.fingerprint if model else "",
        language=language,
        prompt_version=PROMPT_VERSION,
        settings={
            **{
                field.name: getattr(config, field.name)
                for field in fields(config)
                if field.name not in WITHOUT_EFFECT
            },
            "form": _FORM,
            "retrieve": asdict(searcher.config.retrieve),
            "system": system,
            "guard": guard_fingerprint,
            "limits": limits.model_dump(mode="json") if limits else None,
        },
    )
