"""Guess from a prompt as vLLM does, and print with how many threads OpenMP computes before and after.

python tests/integration/serving/guess.py      one line of JSON
"""

from __future__ import annotations

import ctypes
import json
import os

import numpy as np


def main() -> None:
    """Bind this thread to one processor, as the engine's is, and guess."""
    openmp = ctypes.CDLL(None)  # the one in LD_PRELOAD
    openmp.omp_set_num_threads(2)
    before = openmp.omp_get_max_threads()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from vllm.v1.spec_decode.ngram_proposer import batch_propose_numba

    prompt = np.array([[5, 6, 7, 8, 5, 6, 7]], dtype=np.int32)
    guesses, counts = np.zeros((1, 2), dtype=np.int32), np.zeros(1, dtype=np.int32)
    batch_propose_numba([0], np.array([7]), prompt, 1, 4, 64, 2, guesses, counts)
    after = openmp.omp_get_max_threads()
    print(json.dumps({"guess": guesses[0].tolist(), "before": before, "after": after}))


if __name__ == "__main__":
    main()
