"""An embedder that remembers the last questions: cache and search embed the same one."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from quantserve.rag.embedding.backend import Embedder, Floats, Progress

_KEPT = 256


class RememberingEmbedder:
    """Passes everything on; a single question that was embedded lately is not embedded again."""

    def __init__(self, inner: Embedder) -> None:
        """`inner` does the work."""
        self._inner = inner
        self._lock = threading.Lock()
        self._vectors: OrderedDict[str, Floats] = OrderedDict()

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._inner.dimension

    def embed_queries(self, texts: Sequence[str]) -> Floats:
        """Embed questions."""
        if len(texts) != 1:
            return self._inner.embed_queries(texts)
        with self._lock:
            found = self._vectors.get(texts[0])
            if found is not None:
                self._vectors.move_to_end(texts[0])
        if found is None:
            found = self._inner.embed_queries(texts)[0]
            found.setflags(write=False)
            with self._lock:
                self._vectors[texts[0]] = found
                while len(self._vectors) > _KEPT:
                    self._vectors.popitem(last=False)
        return found[np.newaxis]

    def embed_passages(self, texts: Sequence[str], advance: Progress = lambda _: None) -> Floats:
        """Embed passages; `advance` is told how many more are done."""
        return self._inner.embed_passages(texts, advance)

    def count_tokens(self, text: str) -> int:
        """Tokens of a text without prefix and special tokens."""
        return self._inner.count_tokens(text)
