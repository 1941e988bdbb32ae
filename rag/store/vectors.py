"""The FAISS index: exact up to 100,000 chunks, inverted lists above.

Exact search reads every vector: 100,000 of 384 floats are 150 MB, some ten milliseconds on one core.
Above, an inverted file (IVF) reads only the lists near the question. HNSW answers as fast, but takes
another 260 bytes a vector, minutes to build per 100,000, and cannot limit a search to a filter's rows
without walking past the others; IVF builds in one pass, and stays exact within the lists it reads.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import faiss

Floats = npt.NDArray[np.float32]
FLAT_MAX_CHUNKS = 100_000
LISTS_PER_ROOT = 4
"""Lists of an IVF index for each square root of its vectors (FAISS's own guideline is 4 to 16)."""
TRAIN_PER_LIST = 40
PROBE_SHARE = 64
"""One list in so many is read for a question, and never fewer than MIN_PROBES."""
MIN_PROBES = 32


def build_index(vectors: Floats, flat_max: int = FLAT_MAX_CHUNKS) -> faiss.Index:
    """Index normalised vectors [n, d] by inner product; row numbers are their ids."""
    import faiss

    faiss.omp_set_num_threads(len(os.sched_getaffinity(0)))
    count, dimension = vectors.shape
    if count <= flat_max:
        flat = faiss.IndexFlatIP(dimension)
        flat.add(vectors)
        return flat
    lists = LISTS_PER_ROOT * round(math.sqrt(count))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dimension), dimension, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.niter = 8
    sample = min(count, lists * TRAIN_PER_LIST)
    chosen = np.random.default_rng(0).choice(count, sample, replace=False)
    index.train(vectors[np.sort(chosen)])
    index.add(vectors)
    index.nprobe = max(MIN_PROBES, lists // PROBE_SHARE)
    index.make_direct_map()
    return index


def search_index(
    index: faiss.Index, query: Floats, k: int, among: npt.NDArray[np.int64] | None = None
) -> list[tuple[int, float]]:
    """Return up to `k` (row, cosine), best first; only rows of `among` where it is given."""
    import faiss

    # One thread a question: questions come together, and waking a team of threads for each costs more
    # than a few milliseconds of search gain. The setting is the calling thread's own.
    faiss.omp_set_num_threads(1)
    count = min(k, index.ntotal if among is None else len(among))
    if count < 1:
        return []
    parameters: Any = None  # FAISS's stubs do not know the keywords
    if among is not None:
        selector = faiss.IDSelectorBatch(among)
        library: Any = faiss
        # A filter may leave rows in few lists only: all lists are read, for the filtered rows alone.
        lists = getattr(index, "nlist", 0)
        parameters = (
            library.SearchParametersIVF(sel=selector, nprobe=lists)
            if lists
            else library.SearchParameters(sel=selector)
        )
    scores, rows = index.search(query.reshape(1, -1), count, params=parameters)
    return [(int(row), float(score)) for row, score in zip(rows[0], scores[0], strict=True) if row >= 0]
