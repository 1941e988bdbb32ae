"""What an answer depends on beside its question, and the cache it is kept in."""

from __future__ import annotations

import functools
import hashlib
import weakref
from dataclasses import asdict
from pathlib import Path

from quantserve.rag.answer.wording import PROMPT_VERSION
from quantserve.rag.cache import AnswerCache, Scope
from quantserve.rag.config import AnswerConfig, CacheConfig
from quantserve.rag.llm import ServedModel
from quantserve.rag.retrieve import Searcher
from quantserve.rag.trust.calibration import Entry
from quantserve.rag.trust.index import SearchedIndex

CACHE_FILE = "answers.db"
_CACHES_OPEN = 16
_SETTINGS = (
    "base_url", "model", "mode", "answer_languages", "max_tokens", "temperature", "context_tokens",
    "history_tokens", "window_tokens", "min_similarity", "extract_sentences", "chitchat",
)  # fmt: skip
"""Settings that an answer depends on."""
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
) -> Scope:
    """Return the scope of an answer; `model` is None where none is asked."""
    return Scope(
        index=index_identity(searcher.generation),
        model=model.fingerprint if model else "",
        prompt_version=PROMPT_VERSION,
        settings={
            **{name: getattr(config, name) for name in _SETTINGS},
            "retrieve": asdict(searcher.config.retrieve),
            "system": system,
            "guard": guard_fingerprint,
            "limits": limits.model_dump(mode="json") if limits else None,
        },
    )
