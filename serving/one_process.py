"""Compute in the engine core's own process: a step then needs no message to another process and back.

    --distributed-executor-backend quantserve.serving.one_process.OneProcess

vLLM gives each worker on a CPU a process of its own, because OpenMP takes its threads and their processors
from the environment that a process starts with. Where processes are forked (serving.forking) the engine core
starts with that environment itself. Measured: docs/serving.md.
"""

from __future__ import annotations

from vllm.logger import init_logger
from vllm.v1.executor.uniproc_executor import UniProcExecutor

from quantserve.serving.huge_pages import use_huge_pages
from quantserve.serving.int8_rows import take_any_dimensions
from quantserve.serving.moe_routing import take_any_routing

_log = init_logger(__name__)


class OneProcess(UniProcExecutor):  # type: ignore[misc]  # vLLM is in no environment with mypy
    """vLLM's executor of that kind; under its own name vLLM takes it for impossible on a CPU."""

    def _init_executor(self) -> None:
        take_any_dimensions()
        take_any_routing()
        super()._init_executor()
        # torch allocates the KV cache on huge pages by itself (THP_MEM_ALLOC_ENABLE), not what oneDNN packed
        asked = use_huge_pages()
        _log.info("Weights on huge pages: asked for %d MiB", asked >> 20)
